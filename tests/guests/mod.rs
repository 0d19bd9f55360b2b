//! Small programs that the tests run: this binary with `--guest NAME ARGUMENTS…`. They say what they
//! see; what that should be, the tests know. A guest that panics has found something wrong itself.

mod abi;
mod calls;
mod descriptors;
mod exec;
mod filters;
mod hostile;
mod injection;
mod interrupted;
mod jobs;
mod life;
mod open_often;
mod places;
mod registers;
mod sources;
mod statfs;
mod statmount;
mod storms;
mod tables;
mod tasks;
mod tracing;

pub use sources::{go_program, i386_program};
pub use tables::WAYS;

/// Runs a guest; its exit status.
pub fn run(name: &str, arguments: &[String]) -> i32 {
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    match name {
        "statfs" => statfs::show(arguments),
        "statfs-errors" => statfs::errors(),
        "statfs-often" => statfs::often(argument(0).parse().unwrap(), argument(1)),
        "statmount" => statmount::show(argument(0)),
        "table" => tables::read(argument(0), argument(1)),
        "table-in-chroot" => tables::in_chroot(argument(0), argument(1)),
        "table-in-children" => tables::in_children(argument(0).parse().unwrap(), argument(1)),
        "table-often" => tables::often(argument(0).parse().unwrap(), argument(1)),
        "deny" => filters::deny(arguments),
        "own-trace" => filters::own_trace(),
        "descriptor" => descriptors::show(argument(0)),
        "status-flags" => descriptors::status_flags(argument(0)),
        "descriptor-limit" => descriptors::at_the_limit(argument(0)),
        "openat2-beneath" => descriptors::openat2_beneath(argument(0), argument(1)),
        "registers" => registers::show(argument(0)),
        "memory" => registers::memory(argument(0)),
        "threads" => tasks::threads(argument(0)),
        "signals" => tasks::signals(argument(0)),
        "ignored-signals" => tasks::ignored_signals(),
        "int80" => abi::int80(argument(0), argument(1)),
        "x32" => abi::x32(argument(0), argument(1)),
        "vsyscall" => abi::vsyscall(),
        "ring" => abi::ring::show(argument(0)),
        "children" => abi::children::show(argument(0), argument(1)),
        "look" => abi::children::look_once(argument(0), argument(1)),
        "exec" => exec::show(argument(0), argument(1), argument(2)),
        "privileges" => exec::privileges(argument(0)),
        "without-room" => places::without_room(argument(0), argument(1)),
        "frozen" => places::frozen(argument(0), argument(1)),
        "blocked" => places::blocked(argument(0), argument(1)),
        "handles" => places::handles(argument(0), argument(1)),
        "resolves" => places::resolves(argument(0)),
        "filtered" => injection::filtered(arguments),
        "supervised" => injection::supervised(argument(0), argument(1)),
        "strict" => injection::strict(),
        "storm" => injection::storm(argument(0), argument(1)),
        "interrupted" => interrupted::show(arguments),
        "fork-storm" => tasks::fork_storm(argument(0)),
        "exec-in-thread" => tasks::exec_in_thread(argument(0)),
        "untraced-clone" => tasks::untraced_clone(argument(0), argument(1)),
        "survivor" => tasks::survivor(argument(0), argument(1), argument(2)),
        "wait-for-any" => tasks::wait_for_any(),
        "stop" => tasks::wait_for_a_line(),
        "raise" => tasks::raise(argument(0).parse().unwrap()),
        "crash" => tasks::crash(),
        "ids" => tasks::ids(),
        "trace-child" => tracing::of_a_child(argument(0)),
        "trace" => tracing::of_a_stranger(argument(0).parse().unwrap(), argument(1) == "seize"),
        "trace-while-signals-come" => tracing::while_signals_come(argument(0).parse().unwrap()),
        "open-often" => open_often::show(argument(0), argument(1)),
        "nothing" => {}
        "swapped" => {
            let with_fifo = argument(4) == "fifo";
            hostile::swapped(argument(0), argument(1), argument(2), argument(3).parse().unwrap(), with_fifo);
        }
        "posing" => {
            let behind = argument(4).parse().unwrap();
            hostile::posing(
                argument(0),
                argument(1),
                argument(2),
                argument(3),
                behind,
                argument(5).parse().unwrap(),
            );
        }
        "statfs-edges" => hostile::edges(argument(0)),
        "moving-buffer" => hostile::moving_buffer(argument(0)),
        "rewritten-path" => hostile::rewritten_path(argument(0)),
        "unserved-page" => hostile::unserved_page(argument(0)),
        "attack" => hostile::attack(argument(0)),
        "killed" => {
            let path = argument(2).to_owned().leak();
            storms::killed(argument(0).parse().unwrap(), argument(1).parse().unwrap(), path);
        }
        "stop-and-continue" => {
            storms::stop_and_continue(argument(0).parse().unwrap(), argument(1).to_owned().leak());
        }
        "same-id" => storms::same_id(argument(0).parse().unwrap(), argument(1)),
        "many-threads" => storms::many_threads(argument(0).parse().unwrap(), argument(1)),
        "many-mounts" => storms::many_mounts(argument(0).parse().unwrap(), argument(1)),
        "storm-of-tasks" => {
            storms::storm_of_tasks(argument(0).parse().unwrap(), argument(1).to_owned().leak());
        }
        "jobs-by-signals" => jobs::by_signals(argument(0)),
        "service" => life::service(),
        "reaper" => life::reaper(),
        "init-signals" => life::init_signals(),
        "keeps-on" => life::keeps_on(argument(0)),
        "hog" => life::hog(),
        other => panic!("no guest {other}"),
    }
    0
}

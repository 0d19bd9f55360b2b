//! Storms of tasks: they come, go, stop and die at any moment, and everybody else is served.

use crate::common::needs::{Need, ROOT, UNSHARE};
use crate::common::run::{assert_same_lines, same_but_masked, tracer_of, wait};
use crate::common::sandbox::Sandbox;
use crate::common::tables::{lines_of_type, masked};
use crate::common::{Case, Engine, bare, both, finish, stage};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

const TABLE: &str = "/proc/self/mountinfo";
/// What the tracer may take beside 5,000 live threads.
const TRACER_KIBIBYTES: u64 = 64 << 10;

const THREADS: Need = Need::new("room for 5,000 threads more (ulimit -u, kernel.pid_max)", || {
    let number = |path: &str| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NPROC).map_or(0, |l| l.0);
    limit > 8000 && number("/proc/sys/kernel/pid_max").is_some_and(|most| most > 12_000)
});

pub fn cases() -> Vec<Case> {
    let sandboxes = Sandbox::ALL.into_iter().map(|sandbox| {
        let name =
            format!("storms: in gVisor ({}), tasks may come, go and die at any moment", sandbox.name());
        Case::made(name, sandbox.needs(), move || in_gvisor(sandbox))
    });
    [
        both!(&[];
            tasks_may_die_at_any_moment,
            processes_may_stop_and_continue_each_other,
            children_programs_and_threads_may_come_and_go_all_the_time,
        ),
        both!(&[THREADS]; live_threads_cost_the_tracer_little_memory),
        both!(&[ROOT]; an_id_may_be_used_again_at_once),
        both!(&[ROOT, UNSHARE]; a_table_of_eight_thousand_mounts_is_complete_and_others_are_served),
        sandboxes.collect(),
    ]
    .concat()
}

fn seed() -> u64 {
    let given = std::env::var("FSMASQ_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into())
}

fn tasks_may_die_at_any_moment(engine: Engine) {
    let seed = seed();
    let mut command = engine.prefix().guest("killed");
    // Each call of a victim stops where there is no filter.
    let rounds = if engine == Engine::Seccomp { "400" } else { "60" };
    command.args([&seed.to_string(), rounds, TABLE]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    // It is seized before it executes anything, but not before this process goes on.
    let tracer = loop {
        if let Some(tracer) = tracer_of(id) {
            break tracer;
        }
        std::thread::yield_now();
    };
    let done = wait(child, &format!("a storm with FSMASQ_SEED={seed}"));
    assert_eq!(done.text(), "served\n", "FSMASQ_SEED={seed}: {}", done.errors());
    ends(tracer);
}

/// Waits for the end of a process that is not ours; the harness has a deadline.
fn ends(pid: i32) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd >= 0 {
        // SAFETY: the kernel has just given it to us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    }
}

fn processes_may_stop_and_continue_each_other(engine: Engine) {
    let seed = seed();
    let done = finish(engine.prefix().guest("stop-and-continue").args([&seed.to_string(), TABLE]));
    assert_eq!(done.text(), "all through\n", "FSMASQ_SEED={seed}: {}", done.errors());
}

fn children_programs_and_threads_may_come_and_go_all_the_time(engine: Engine) {
    same_but_masked(engine, "storm-of-tasks", &["150", TABLE]);
}

fn an_id_may_be_used_again_at_once(engine: Engine) {
    same_but_masked(engine, "same-id", &["200", TABLE]);
}

fn live_threads_cost_the_tracer_little_memory(engine: Engine) {
    // Without a filter all of their many calls stop, and each stop costs a walk past all tasks.
    let (count, looks) = if engine == Engine::Seccomp { ("5000", "100 looks") } else { ("1000", "20 looks") };
    let done = finish(engine.prefix().guest("many-threads").args([count, "/proc/self/mounts"]));
    let text = done.quiet_success().text();
    assert_eq!(text.lines().next(), Some(looks));
    let kibibytes: u64 = text.split_whitespace().nth(3).and_then(|n| n.parse().ok()).unwrap();
    assert!((1..=TRACER_KIBIBYTES).contains(&kibibytes), "{text}");
}

fn a_table_of_eight_thousand_mounts_is_complete_and_others_are_served(engine: Engine) {
    let folder = stage().scratch("many-mounts");
    let script = "while kill -0 $$ 2>/dev/null; do grep -c ' ext4 ' /proc/self/mounts; done > \"$2\" & looker=$!; \
                  unshare -m \"$0\" --guest many-mounts 8000 \"$1\"; status=$?; kill $looker; exit $status";
    let looks = stage().scratch("looks").join("looks");
    let mut command = engine.prefix().shell(script);
    command.arg(&stage().guest).arg(&folder).arg(&looks);
    let seen = finish(&mut command).success();
    assert!(lines_of_type(&seen.stdout, "ext4") > 8000);
    assert_eq!(lines_of_type(&seen.stdout, "tmpfs"), 0);
    let counts = std::fs::read_to_string(&looks).unwrap();
    assert!(counts.lines().count() > 1 && counts.lines().all(|n| n != "0"), "{counts}");
    // The same bare; ids of mounts and superblocks differ.
    let mut command = bare("unshare");
    command.arg("-m").arg(&stage().guest).args(["--guest", "many-mounts", "8000"]).arg(&folder);
    let expected = finish(&mut command).success();
    let steady = |text: &[u8]| -> String {
        String::from_utf8_lossy(text)
            .lines()
            .map(|l| l.splitn(4, ' ').last().unwrap().to_owned() + "\n")
            .collect()
    };
    assert_same_lines(&steady(&seen.stdout), &steady(&masked(&expected.stdout)), "8,000 mounts");
}

fn in_gvisor(sandbox: Sandbox) {
    let seed = seed();
    let guests = [
        ("killed", format!("{seed} 20 {TABLE}")),
        ("stop-and-continue", format!("{seed} {TABLE}")),
        ("storm-of-tasks", format!("20 {TABLE}")),
        ("many-threads", format!("200 {TABLE}")),
    ];
    for (guest, arguments) in guests {
        let [bare, below] = sandbox.bare_and_masked(Engine::Seccomp, guest, &arguments);
        let what = format!("{guest}, FSMASQ_SEED={seed}: {}", below.errors());
        assert_eq!(below.status.code(), bare.status.code(), "{what}");
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first(below.text()), first(bare.text()), "{what}");
    }
}

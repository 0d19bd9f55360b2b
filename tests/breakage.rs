//! What happens when something breaks around the tracer is defined: nothing hangs, and what is lost is said.

use crate::common::needs::{Need, ROOT, UNSHARE, finds};
use crate::common::run::{signal_of, tracer_of, wait};
use crate::common::tables::lines_of_type;
use crate::common::{Case, Done, Engine, Prefix, both, finish, stage};
use crate::group_stop::started;
use crate::supervision::{assert_ends, pidfd};
use std::fs;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

const TIME_NAMESPACES: Need = Need::new("time namespaces (unshare -T)", || {
    finds("unshare")
        && Command::new("unshare").args(["-T", "--boottime", "9", "true"]).status().is_ok_and(|s| s.success())
});

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            a_tracer_that_is_killed_takes_all_tasks_with_it,
            a_tracer_that_is_out_of_memory_says_so_or_takes_all_tasks_with_it,
            a_tracer_that_is_out_of_descriptors_says_so_and_goes_on,
            a_tracer_that_is_stopped_goes_on_where_it_was,
            a_tracer_that_is_asked_to_end_does_not,
            a_closed_stderr_costs_the_log_only,
            a_reader_of_the_log_that_goes_away_costs_the_log_only,
            a_full_device_costs_the_log_only,
            a_log_file_that_is_deleted_costs_the_log_only,
            a_log_file_that_is_truncated_goes_on_from_its_start,
        ),
        both!(&[ROOT, UNSHARE];
            a_full_disk_costs_the_lines_that_do_not_fit,
            a_log_file_whose_disk_is_taken_away_costs_the_log_only,
        ),
        both!(&[ROOT, TIME_NAMESPACES]; clocks_that_jump_change_nothing),
    ]
    .concat()
}

/// A shell that does a step at each line that it gets.
const STEPS: &str = "echo ready $$; while read step; do eval \"$step\"; done";

/// Starts it; it ends with its input.
fn steps(prefix: &Prefix) -> (Child, ChildStdin, i32) {
    let mut command = prefix.shell(STEPS);
    command.stderr(Stdio::piped());
    let (child, stdin) = started(&mut command);
    let tracer = tracer_of(child.id()).unwrap();
    (child, stdin, tracer)
}

fn step(stdin: &mut ChildStdin, text: &str) {
    writeln!(stdin, "{text}").unwrap();
}

/// Lets it do a last step, and end.
#[track_caller]
fn end(child: Child, mut stdin: ChildStdin, text: &str) -> Done {
    step(&mut stdin, text);
    drop(stdin);
    wait(child, "a shell")
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: no pointers; the tracer of our own child.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn limit(pid: i32, resource: libc::__rlimit_resource_t, value: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads one struct.
    let result = unsafe { libc::prlimit(pid, resource, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(result, 0, "prlimit: {}", std::io::Error::last_os_error());
}

const MAGIC: &str = "stat -f -c %t /dev/shm";

fn a_tracer_that_is_killed_takes_all_tasks_with_it(engine: Engine) {
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGABRT] {
        let (child, mut stdin, tracer) = steps(&engine.prefix());
        // In its own session, stopped, ignoring what can be ignored, in the middle of a call.
        step(
            &mut stdin,
            "setsid sleep 1000 & sh -c 'kill -STOP $$' & sh -c 'trap \"\" TERM; sleep 1000; :' &",
        );
        let process = pidfd(tracer);
        kill(tracer, signal);
        if signal != libc::SIGKILL {
            // Blocked, as are all that can be: it takes one that can't be.
            kill(tracer, libc::SIGKILL);
        }
        // The pipes end as well: all are gone.
        assert_eq!(signal_of(&wait(child, "a command without its tracer")), Some(libc::SIGKILL));
        assert_ends(&process, "the tracer");
    }
}

fn a_tracer_that_is_out_of_memory_says_so_or_takes_all_tasks_with_it(engine: Engine) {
    let (child, stdin, tracer) = steps(&engine.prefix());
    let process = pidfd(tracer);
    limit(tracer, libc::RLIMIT_AS, 1);
    limit(tracer, libc::RLIMIT_DATA, 1);
    // Tables of many mounts don't fit in what it has; tasks of their own need more room as well.
    let table = "for i in 1 2 3 4 5 6 7 8; do cat /proc/self/mountinfo & done > /dev/null; wait";
    let mut stdin = stdin;
    for _ in 0..20 {
        if writeln!(stdin, "{table}").is_err() {
            break;
        }
    }
    drop(stdin);
    let done = wait(child, "a command whose tracer has no memory");
    let errors = done.errors();
    let is_said = errors.lines().all(|line| line.contains("a mount table is shown as it is"));
    let has_died = signal_of(&done) == Some(libc::SIGKILL);
    assert!(has_died || (done.status.success() && is_said), "{} {errors}", done.status);
    assert_ends(&process, "the tracer");
}

fn a_tracer_that_is_out_of_descriptors_says_so_and_goes_on(engine: Engine) {
    // A log file is open all the time; a pipe on stderr would have to be opened for the line.
    let log = stage().scratch("descriptors").join("log");
    let prefix = engine.prefix().options(["--log-file".into(), log.clone().into_os_string()]);
    let (child, mut stdin, tracer) = steps(&prefix);
    limit(tracer, libc::RLIMIT_NOFILE, 3);
    step(&mut stdin, MAGIC);
    let done = end(child, stdin, "cat /proc/self/mounts").success();
    let (first, table) = done.text().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(first, "ef53", "statfs needs none");
    assert!(lines_of_type(table.as_bytes(), "tmpfs") > 0);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("is shown as it is") && log.contains("os error 24"), "{log}");
}

fn a_tracer_that_is_stopped_goes_on_where_it_was(engine: Engine) {
    for all in [false, true] {
        let (mut child, mut stdin, tracer) = steps(&engine.prefix());
        let command = i32::try_from(child.id()).unwrap();
        for _ in 0..3 {
            kill(tracer, libc::SIGSTOP);
            until_state(tracer, 'T');
            // It gets as far as to a call that the tracer would have to see.
            step(&mut stdin, MAGIC);
            if all {
                kill(command, libc::SIGSTOP);
            }
            assert_eq!(child.try_wait().unwrap(), None);
            kill(tracer, libc::SIGCONT);
            if all {
                kill(command, libc::SIGCONT);
            }
        }
        let done = end(child, stdin, "exit 5");
        assert_eq!((done.text().as_str(), done.status.code()), ("ef53\nef53\nef53\n", Some(5)));
        assert_eq!(done.errors(), "");
    }
}

/// Waits until a process is in this state, as proc(5)'s stat says it.
fn until_state(pid: i32, state: char) {
    let is_in = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with(state)
    };
    while !is_in() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn a_tracer_that_is_asked_to_end_does_not(engine: Engine) {
    let (child, mut stdin, tracer) = steps(&engine.prefix());
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        // The C library's own.
        if !(32..34).contains(&signal) {
            kill(tracer, signal);
        }
        step(&mut stdin, MAGIC);
    }
    let done = end(child, stdin, "exit 5");
    assert_eq!((done.text(), done.status.code()), ("ef53\n".repeat(62), Some(5)));
    assert_eq!(done.errors(), "");
}

/// Calls that each have a line in the log.
fn rewriting(prefix: &Prefix) -> Command {
    let mut command = prefix.clone().options(["-v"]).guest("statfs-often");
    command.arg("50").arg(stage().quiet());
    command
}

#[track_caller]
fn is_served(mut command: Command) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    drop(command);
    assert_eq!(wait(child, "a guest").success().text(), "{ef53: 32}\n");
}

fn a_closed_stderr_costs_the_log_only(engine: Engine) {
    use std::os::unix::process::CommandExt;
    let mut command = rewriting(&engine.prefix());
    // SAFETY: close is allowed after a fork.
    unsafe {
        command.pre_exec(|| {
            libc::close(2);
            Ok(())
        })
    };
    is_served(command);
}

fn a_reader_of_the_log_that_goes_away_costs_the_log_only(engine: Engine) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let mut command = rewriting(&engine.prefix());
    command.stderr(writer);
    drop(reader);
    is_served(command);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = rewriting(&engine.prefix());
    command.stderr(std::os::fd::OwnedFd::from(theirs));
    drop(ours);
    is_served(command);
}

fn a_full_device_costs_the_log_only(engine: Engine) {
    let mut command = rewriting(&engine.prefix());
    command.stderr(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    is_served(command);
    let mut command = rewriting(&engine.prefix().options(["--log-file", "/dev/full", "--summary"]));
    command.stderr(Stdio::null());
    is_served(command);
}

fn a_log_file_that_is_deleted_costs_the_log_only(engine: Engine) {
    let file = stage().scratch("log").join("log");
    let (child, mut stdin, _) = steps(&engine.prefix().options(["-v", "--log-file", file.to_str().unwrap()]));
    step(&mut stdin, MAGIC);
    step(&mut stdin, &format!("rm '{}'", file.display()));
    let done = end(child, stdin, MAGIC).success();
    assert_eq!((done.text().as_str(), done.errors().as_str()), ("ef53\nef53\n", ""));
    assert!(!file.exists());
}

fn a_log_file_that_is_truncated_goes_on_from_its_start(engine: Engine) {
    let file = stage().scratch("log").join("log");
    let (child, mut stdin, _) = steps(&engine.prefix().options(["-v", "--log-file", file.to_str().unwrap()]));
    for _ in 0..5 {
        step(&mut stdin, MAGIC);
    }
    step(&mut stdin, &format!(": > '{}'", file.display()));
    let done = end(child, stdin, MAGIC).success();
    assert_eq!(done.text(), "ef53\n".repeat(6));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.lines().count() == 1 && text.contains("/dev/shm") && !text.contains('\0'), "{text:?}");
}

/// In a mount namespace of its own, with a small disk at `$0`.
fn with_small_disk(engine: Engine, script: &str) -> Done {
    let folder = stage().scratch("disk");
    let script = format!("mount -t tmpfs -o size=4k small \"$0\" && {script}");
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &script]).arg(&folder);
    let log = folder.join("log");
    command.args(engine.prefix().options(["-v", "--log-file", log.to_str().unwrap()]).words());
    finish(&mut command)
}

fn a_full_disk_costs_the_lines_that_do_not_fit(engine: Engine) {
    let guest =
        format!("'{}' --guest statfs-often 50 '{}'", stage().guest.display(), stage().quiet().display());
    let done = with_small_disk(engine, &format!("\"$@\" {guest} && stat -c %s \"$0/log\"")).quiet_success();
    assert_eq!(done.text(), "{ef53: 32}\n4096\n");
}

fn a_log_file_whose_disk_is_taken_away_costs_the_log_only(engine: Engine) {
    // Nobody below can do that while it is in use, but for lazily.
    let done = with_small_disk(engine, "exec \"$@\" sh -c 'umount -l \"$0\"; stat -f -c %t /dev/shm' \"$0\"");
    assert_eq!(done.quiet_success().text(), "ef53\n");
}

fn clocks_that_jump_change_nothing(engine: Engine) {
    let jump = ["-T", "--monotonic", "100000000", "--boottime", "100000000"];
    let script = "timeout 60 stat -f -c %t /dev/shm; sleep 0.01; cut -c 1-3 /proc/uptime";
    let mut above = Command::new("unshare");
    above.args(jump).args(engine.prefix().words()).args(["sh", "-c", script]);
    assert_eq!(finish(&mut above).quiet_success().text(), "ef53\n100\n");
    let mut below = engine.prefix().command("unshare");
    below.args(jump).args(["sh", "-c", script]);
    assert_eq!(finish(&mut below).quiet_success().text(), "ef53\n100\n");
}

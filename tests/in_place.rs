//! The command is where the launcher was: same process, same surroundings, same end.

use crate::common::run::{bare_shell, signal_of, wait};
use crate::common::{Case, Engine, bare, both, finish, stage};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

pub fn cases() -> Vec<Case> {
    both!(&[];
        the_pid_and_the_parent_are_the_launchers,
        the_exit_status_is_the_commands,
        a_death_by_signal_is_seen_as_one,
        a_signal_to_the_pid_reaches_the_command,
        arguments_environment_folder_umask_and_limits_are_inherited,
        signal_dispositions_and_the_mask_are_inherited,
        no_signal_is_left_pending_for_the_command,
        descriptors_are_inherited_and_none_is_added,
        closed_standard_descriptors_stay_closed,
        stdin_and_both_outputs_are_the_callers,
        group_session_and_terminal_are_the_callers,
        a_broken_pipe_kills_as_natively,
    )
}

fn the_pid_and_the_parent_are_the_launchers(engine: Engine) {
    let mut command = engine.prefix().shell("echo $$ $PPID");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let expected = format!("{} {}\n", child.id(), std::process::id());
    assert_eq!(wait(child, "a shell").quiet_success().text(), expected);
}

fn the_exit_status_is_the_commands(engine: Engine) {
    for status in (0..256).step_by(if engine == Engine::Seccomp { 1 } else { 17 }) {
        let done = finish(&mut engine.prefix().shell(&format!("exit {status}")));
        assert_eq!((done.status.code(), done.errors().as_str()), (Some(status), ""));
    }
}

fn a_death_by_signal_is_seen_as_one(engine: Engine) {
    let real_time = [libc::SIGRTMIN(), libc::SIGRTMIN() + 3, libc::SIGRTMAX()];
    let plain = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGABRT,
        libc::SIGKILL,
        libc::SIGSEGV,
        libc::SIGPIPE,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    for signal in plain.into_iter().chain(real_time) {
        let done = finish(engine.prefix().guest("raise").arg(signal.to_string()));
        assert_eq!(signal_of(&done), Some(signal), "{}", done.errors());
    }
    assert_eq!(signal_of(&finish(&mut engine.prefix().guest("crash"))), Some(libc::SIGSEGV));
}

fn a_signal_to_the_pid_reaches_the_command(engine: Engine) {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGKILL, libc::SIGRTMIN() + 1] {
        let mut command = engine.prefix().guest("stop");
        let (mut child, _stdin) = crate::group_stop::started(&mut command);
        // SAFETY: no pointers; our own child.
        unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) };
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal));
    }
}

/// Runs a script bare and under the prefix in the surroundings that `prepare` makes.
#[track_caller]
fn same_surroundings(engine: Engine, script: &str, prepare: impl Fn(&mut Command)) -> String {
    let mut expected = bare_shell(script);
    let mut seen = engine.prefix().shell(script);
    prepare(&mut expected);
    prepare(&mut seen);
    let expected = finish(&mut expected).quiet_success().text();
    assert_eq!(finish(&mut seen).quiet_success().text(), expected);
    expected
}

fn arguments_environment_folder_umask_and_limits_are_inherited(engine: Engine) {
    let script = "tr '\\0' '\\n' < /proc/$$/environ | sort; pwd; umask; ulimit -a; cat /proc/self/oom_score_adj; \
                  cat /proc/self/comm; nice; cat /proc/self/timerslack_ns; grep -E 'Cap|Uid|Gid' /proc/self/status";
    let folder = stage().quiet();
    let seen = same_surroundings(engine, script, |command| {
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("A B", "c\nd").env("EMPTY", "");
        command.current_dir(&folder);
        // SAFETY: both calls are allowed after a fork.
        unsafe {
            command.pre_exec(|| {
                libc::umask(0o137);
                let limit = libc::rlimit { rlim_cur: 77, rlim_max: 999 };
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
                Ok(())
            })
        };
    });
    assert!(seen.contains("0137") && seen.contains("77") && seen.contains("A B=c"), "{seen}");
    if crate::common::needs::ROOT.is_met() {
        // Without privilege a filter can't be had otherwise.
        same_surroundings(engine, "grep NoNewPrivs /proc/self/status", |_| {});
    }
    let words = ["", "-x", "--", "a b", "\u{e9}", "--map"];
    let seen = finish(engine.prefix().command("printf").arg("[%s]").args(words)).quiet_success().text();
    assert_eq!(seen, words.map(|word| format!("[{word}]")).concat());
    // The name that the command is called by is its argument 0.
    let seen = finish(engine.prefix().command("cat").arg("/proc/self/cmdline")).quiet_success().text();
    assert_eq!(seen, "cat\0/proc/self/cmdline\0");
}

fn signal_dispositions_and_the_mask_are_inherited(engine: Engine) {
    let status = |command: &mut Command, kind: u8| {
        command.arg("/proc/self/status");
        // SAFETY: all calls are allowed after a fork; the set is initialized.
        unsafe {
            command.pre_exec(move || {
                if kind == 1 {
                    for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGCHLD, libc::SIGRTMIN() + 2] {
                        libc::signal(signal, libc::SIG_IGN);
                    }
                    let mut set: libc::sigset_t = std::mem::zeroed();
                    libc::sigemptyset(&raw mut set);
                    for signal in [libc::SIGUSR1, libc::SIGTERM, libc::SIGCHLD, libc::SIGRTMAX()] {
                        libc::sigaddset(&raw mut set, signal);
                    }
                    libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                } else {
                    libc::signal(libc::SIGPIPE, libc::SIG_DFL);
                }
                Ok(())
            });
        }
        let text = finish(command).quiet_success().text();
        text.lines()
            .filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for kind in [0, 1] {
        let expected = status(&mut bare("cat"), kind);
        assert!(expected.contains("SigIgn"), "{expected}");
        assert_eq!(status(&mut engine.prefix().command("cat"), kind), expected);
    }
}

fn no_signal_is_left_pending_for_the_command(engine: Engine) {
    let status = |command: &mut Command| {
        command.arg("/proc/self/status");
        // SAFETY: all calls are allowed after a fork; the set is initialized.
        unsafe {
            command.pre_exec(|| {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, libc::SIGCHLD);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                Ok(())
            })
        };
        let text = finish(command).quiet_success().text();
        text.lines().filter(|line| line.contains("Pnd:")).map(|line| format!("{line}\n")).collect::<String>()
    };
    let expected = status(&mut bare("cat"));
    assert_eq!(expected, "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n");
    assert_eq!(status(&mut engine.prefix().command("cat")), expected);
}

fn descriptors_are_inherited_and_none_is_added(engine: Engine) {
    let seen = same_surroundings(engine, "ls /proc/self/fd; readlink /proc/self/fd/9; cat <&9", |command| {
        // SAFETY: all calls are allowed after a fork.
        unsafe {
            command.pre_exec(|| {
                let fd = libc::open(c"/proc/version".as_ptr(), libc::O_RDONLY);
                if fd != 9 {
                    libc::dup2(fd, 9);
                    libc::close(fd);
                }
                Ok(())
            })
        };
    });
    assert!(seen.contains("\n9\n") && seen.contains("Linux"), "{seen}");
    // Of the shell itself.
    same_surroundings(engine, "ls /proc/$$/fd", |_| {});
}

fn closed_standard_descriptors_stay_closed(engine: Engine) {
    for closed in [vec![0], vec![1], vec![2], vec![0, 1, 2]] {
        let look = |command: &mut Command, report: &std::path::Path| {
            command.env("REPORT", report);
            let closed = closed.clone();
            // SAFETY: close is allowed after a fork.
            unsafe {
                command.pre_exec(move || {
                    for fd in &closed {
                        libc::close(*fd);
                    }
                    Ok(())
                })
            };
            assert!(finish(command).status.success());
            std::fs::read_to_string(report).unwrap()
        };
        let script = "for fd in 0 1 2 3 4 5 6 7 8; do [ -e /proc/$$/fd/$fd ] && all=\"$all $fd\"; done; echo $all > $REPORT";
        let folder = stage().scratch("closed");
        let expected = look(&mut bare_shell(script), &folder.join("bare"));
        let seen = look(&mut engine.prefix().shell(script), &folder.join("under"));
        assert_eq!(seen, expected, "closed {closed:?}");
    }
}

fn stdin_and_both_outputs_are_the_callers(engine: Engine) {
    let mut command = engine.prefix().shell("cat; echo to stderr >&2");
    let input = vec![b'x'; 300_000];
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let input = input.clone();
        move || std::io::Write::write_all(&mut stdin, &input)
    });
    let done = wait(child, "cat");
    writer.join().unwrap().unwrap();
    assert_eq!((done.stdout == input, done.errors().as_str()), (true, "to stderr\n"));
}

fn group_session_and_terminal_are_the_callers(engine: Engine) {
    // Parent, group, session, terminal and its foreground group: fields 4 to 8 of proc(5)'s stat.
    same_surroundings(engine, "cut -d ' ' -f 4-8 /proc/$$/stat", |_| {});
    let own_group = |mut command: Command| {
        let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        (wait(child, "a shell").quiet_success().text(), pid)
    };
    let (group, pid) = own_group(engine.prefix().shell("cut -d ' ' -f 5 /proc/$$/stat"));
    assert_eq!(group.trim(), pid);
}

fn a_broken_pipe_kills_as_natively(engine: Engine) {
    let head = |mut command: Command| {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The reader goes away at once.
        drop(child.stdout.take());
        wait(child, "yes").status.signal()
    };
    assert_eq!(head(bare("yes")), Some(libc::SIGPIPE));
    assert_eq!(head(engine.prefix().command("yes")), Some(libc::SIGPIPE));
}

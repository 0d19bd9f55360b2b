//! Stopping and continuing, as a shell's job control does it.

use crate::common::{Case, Engine, both};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

pub fn cases() -> Vec<Case> {
    both!(&[];
        a_stopped_command_is_seen_as_stopped_and_goes_on_when_continued,
        a_command_that_stops_itself_goes_on_when_continued,
        a_stopped_command_can_be_killed,
    )
}

/// Starts a program that says `ready` and then waits for its stdin.
pub fn started(command: &mut Command) -> (Child, ChildStdin) {
    // A group of its own, with its parent outside of it: the terminal's stop signals do nothing to an orphaned group,
    // which the tests' own may be.
    let mut child = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::with_capacity(1, child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, format!("ready {}\n", child.id()));
    child.stdout = Some(stdout.into_inner());
    (child, stdin)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn kill(child: &Child, signal: i32) {
    // SAFETY: no pointers; our own child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(pid(child).as_raw(), signal) }, 0);
}

fn change(child: &Child) -> WaitStatus {
    waitpid(pid(child), Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED)).unwrap()
}

fn a_stopped_command_is_seen_as_stopped_and_goes_on_when_continued(engine: Engine) {
    for signal in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        let (mut child, mut stdin) = started(&mut engine.prefix().guest("stop"));
        for _ in 0..3 {
            kill(&child, signal);
            assert_eq!(change(&child), WaitStatus::Stopped(pid(&child), signal.try_into().unwrap()));
            let state = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            assert!(state.contains(") T ") || state.contains(") t "), "{state}");
            kill(&child, libc::SIGCONT);
            assert_eq!(change(&child), WaitStatus::Continued(pid(&child)));
        }
        stdin.write_all(b"go on\n").unwrap();
        let mut rest = String::new();
        child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("go on\n", Some(0)));
    }
}

fn a_command_that_stops_itself_goes_on_when_continued(engine: Engine) {
    let mut command = engine.prefix().shell("kill -STOP $$; echo continued; exit 5");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(change(&child), WaitStatus::Stopped(pid(&child), nix::sys::signal::Signal::SIGSTOP));
    kill(&child, libc::SIGCONT);
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), child.wait().unwrap().code()), ("continued\n", Some(5)));
}

fn a_stopped_command_can_be_killed(engine: Engine) {
    let (child, _stdin) = started(&mut engine.prefix().guest("stop"));
    kill(&child, libc::SIGSTOP);
    assert!(matches!(change(&child), WaitStatus::Stopped(..)));
    kill(&child, libc::SIGKILL);
    assert_eq!(change(&child), WaitStatus::Signaled(pid(&child), nix::sys::signal::Signal::SIGKILL, false));
}

//! What a shell does with its jobs, in one program: for sandboxes that have no shell with job control.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setpgid};
use std::io::{Read, Write};

/// A job in a group of its own, stopped, continued and ended by signals: at whatever moment, or always while it sleeps.
pub fn by_signals(moment: &str) {
    let is_due = |job| match moment {
        "any" => {}
        "asleep" => falls_asleep(job),
        other => panic!("no such moment: {other}"),
    };
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let job = job(|| {
        (&theirs).write_all(b"b").unwrap();
        loop {
            std::thread::sleep(std::time::Duration::from_secs(1000));
        }
    });
    ours.read_exact(&mut [0]).unwrap();
    for stop in [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGSTOP] {
        is_due(job);
        kill(group(job), stop).unwrap();
        say(job);
        kill(group(job), Signal::SIGCONT).unwrap();
        say(job);
    }
    is_due(job);
    kill(group(job), Signal::SIGSTOP).unwrap();
    say(job);
    kill(group(job), Signal::SIGTERM).unwrap();
    kill(group(job), Signal::SIGCONT).unwrap();
    // Whether the end overtakes the going on is chance.
    println!("{:?}", without_pid(waitpid(job, None).unwrap()));
}

fn job(body: impl FnOnce()) -> Pid {
    // SAFETY: one thread; the child only makes calls of its own.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).unwrap();
            body();
            std::process::exit(0)
        }
    }
}

fn group(job: Pid) -> Pid {
    Pid::from_raw(-job.as_raw())
}

/// Waits until a job that does nothing but sleep does so: a stop of its tracer's looks the same in some kernels, but
/// doesn't last.
fn falls_asleep(job: Pid) {
    const LOOKS: u32 = 100;
    let mut asleep = 0;
    while asleep < LOOKS {
        std::thread::sleep(std::time::Duration::from_millis(2));
        let text = std::fs::read_to_string(format!("/proc/{job}/stat")).unwrap();
        asleep = if text.rsplit_once(')').unwrap().1.starts_with(" S") { asleep + 1 } else { 0 };
    }
}

/// The next change of a job.
fn say(job: Pid) {
    let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED;
    println!("{:?}", without_pid(waitpid(job, Some(flags)).unwrap()));
}

/// `Stopped(Pid(7), SIGTSTP)` → `Stopped SIGTSTP`.
fn without_pid(status: nix::sys::wait::WaitStatus) -> String {
    let text = format!("{status:?}");
    let (kind, rest) = text.split_once("(Pid(").unwrap();
    format!("{kind}{}", rest.split_once(')').unwrap().1)
}

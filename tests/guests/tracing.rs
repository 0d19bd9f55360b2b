//! Programs that trace others.

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// A child that asks to be traced stops at its exec, and is ended there, as container runtimes do; then another that goes
/// on to its end.
pub fn of_a_child(program: &str) {
    for ends_at_its_exec in [true, false] {
        // SAFETY: one thread.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                ptrace::traceme().unwrap();
                let program = std::ffi::CString::new(program).unwrap();
                let error = nix::unistd::execv(&program, &[&program, &c"-c".into(), &c"exit 7".into()]);
                panic!("{error:?}");
            }
        };
        println!("{}", shown(waitpid(child, None).unwrap()));
        if ends_at_its_exec {
            nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
        } else {
            ptrace::cont(child, None).unwrap();
        }
        println!("{}", shown(waitpid(child, None).unwrap()));
    }
}

/// Attaches to a process, and lets it go on; by PTRACE_SEIZE or PTRACE_ATTACH.
pub fn of_a_stranger(pid: i32, by_seizing: bool) {
    let pid = Pid::from_raw(pid);
    let answer = if by_seizing { ptrace::seize(pid, ptrace::Options::empty()) } else { ptrace::attach(pid) };
    println!("{answer:?}");
    if answer.is_err() {
        return;
    }
    if by_seizing {
        ptrace::interrupt(pid).unwrap();
    }
    println!("{}", shown(waitpid(pid, None).unwrap()));
    ptrace::detach(pid, None).unwrap();
}

fn shown(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exited {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
        WaitStatus::Stopped(_, signal) => format!("stopped by {signal}"),
        WaitStatus::PtraceEvent(_, signal, event) => format!("event {event} with {signal}"),
        other => format!("{other:?}"),
    }
}

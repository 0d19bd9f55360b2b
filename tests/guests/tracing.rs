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

/// Children that wait for a signal, which comes while they are being attached to: each wait ends.
pub fn while_signals_come(rounds: u32) {
    for round in 0..rounds {
        let (mut told, tell) = std::io::pipe().unwrap();
        // SAFETY: one thread.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => wait_for_a_signal(tell),
        };
        drop(tell);
        std::io::Read::read_exact(&mut told, &mut [0]).unwrap();
        // SAFETY: as above.
        let sender = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                // Earlier and later, from round to round.
                (0..round % 50 * 400).for_each(|_| std::hint::spin_loop());
                nix::sys::signal::kill(child, Signal::SIGUSR1).unwrap();
                std::process::exit(0);
            }
        };
        let is_traced = ptrace::seize(child, ptrace::Options::empty()).is_ok();
        loop {
            match waitpid(child, None).unwrap() {
                WaitStatus::Stopped(_, signal) if is_traced => ptrace::cont(child, signal).unwrap(),
                end => break assert_eq!(end, WaitStatus::Exited(child, 0)),
            }
        }
        waitpid(sender, None).unwrap();
    }
    println!("{rounds} waits ended");
}

fn wait_for_a_signal(mut tell: std::io::PipeWriter) -> ! {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    extern "C" fn nothing(_: libc::c_int) {}
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGUSR1);
    mask.thread_block().unwrap();
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    std::io::Write::write_all(&mut tell, &[1]).unwrap();
    // SAFETY: the set is initialized.
    unsafe { libc::sigsuspend(SigSet::empty().as_ref()) };
    std::process::exit(0)
}

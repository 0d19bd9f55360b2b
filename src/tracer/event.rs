//! From a raw wait status to what happened: pure, and tested without a process.
//!
//! nix's `WaitStatus` is not used: it rejects real-time signals after the status has been consumed.

use crate::ptrace::SYSGOOD;

/// What one wait status says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The task is gone: ended by itself, or by a signal.
    Exited {
        code: i32,
    },
    Killed {
        signal: i32,
    },
    /// It stopped, and stays so until it is resumed.
    Stopped(Stop),
}

/// Why a seized task stopped (ptrace(2), "Stopped states").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Entry or exit of a call; which of them, the task's state knows.
    Syscall,
    /// A filter answered SECCOMP_RET_TRACE.
    Seccomp,
    /// execve succeeded; the old program is gone.
    Exec,
    /// The task is about to end; only where that was asked for.
    End,
    /// fork, vfork or clone made a task; it reports itself with a stop of its own.
    NewTask,
    /// Job control stopped the process: it must stay so until SIGCONT.
    Group { signal: i32 },
    /// A new task's first stop, the end of a group-stop, or an interrupt: nothing to do but resume.
    Trap,
    /// A signal is about to be delivered.
    Signal { signal: i32 },
    /// An event that was not asked for: pass it on.
    Other { event: i32 },
}

/// `PTRACE_EVENT_STOP` (linux/ptrace.h).
const PTRACE_EVENT_STOP: i32 = 128;

/// Decodes a status of wait4(2).
pub fn classify(status: i32) -> Event {
    if libc::WIFEXITED(status) {
        return Event::Exited { code: libc::WEXITSTATUS(status) };
    }
    if libc::WIFSIGNALED(status) {
        return Event::Killed { signal: libc::WTERMSIG(status) };
    }
    let signal = libc::WSTOPSIG(status);
    let event = status >> 16;
    Event::Stopped(match event {
        0 if signal == libc::SIGTRAP | SYSGOOD => Stop::Syscall,
        0 => Stop::Signal { signal },
        libc::PTRACE_EVENT_SECCOMP => Stop::Seccomp,
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => Stop::NewTask,
        libc::PTRACE_EVENT_EXIT => Stop::End,
        PTRACE_EVENT_STOP => match signal {
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Stop::Group { signal },
            _ => Stop::Trap,
        },
        _ => Stop::Other { event },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(signal: i32, event: i32) -> Event {
        classify(0x7f | (signal << 8) | (event << 16))
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(classify(3 << 8), Event::Exited { code: 3 });
        assert_eq!(classify(libc::SIGKILL), Event::Killed { signal: libc::SIGKILL });
        assert_eq!(classify(libc::SIGSEGV | 0x80), Event::Killed { signal: libc::SIGSEGV });
    }

    #[test]
    fn a_sigtrap_of_the_program_is_a_signal_and_not_a_syscall_stop() {
        assert_eq!(stopped(libc::SIGTRAP, 0), Event::Stopped(Stop::Signal { signal: libc::SIGTRAP }));
        assert_eq!(stopped(libc::SIGTRAP | 0x80, 0), Event::Stopped(Stop::Syscall));
    }

    #[test]
    fn real_time_signals_are_signals() {
        for signal in 34..=64 {
            assert_eq!(stopped(signal, 0), Event::Stopped(Stop::Signal { signal }));
        }
    }

    #[test]
    fn a_group_stop_differs_from_a_first_stop_and_from_the_signal_itself() {
        for signal in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
            assert_eq!(stopped(signal, 128), Event::Stopped(Stop::Group { signal }));
            assert_eq!(stopped(signal, 0), Event::Stopped(Stop::Signal { signal }));
        }
        assert_eq!(stopped(libc::SIGTRAP, 128), Event::Stopped(Stop::Trap));
    }

    #[test]
    fn events_that_nobody_asked_for_are_passed_on() {
        assert_eq!(stopped(libc::SIGTRAP, 5), Event::Stopped(Stop::Other { event: 5 }));
        assert_eq!(stopped(libc::SIGTRAP, 99), Event::Stopped(Stop::Other { event: 99 }));
    }

    proptest::proptest! {
        #[test]
        fn no_status_panics(status: i32) {
            let _ = classify(status);
        }
    }
}

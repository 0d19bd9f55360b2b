//! Signals that would do to a traced task what they never do to an untraced one.
//!
//! - A signal that a task ignores is not even queued; for a traced task it is, so that the tracer can
//!   see it, and blocking calls return EINTR for nothing. Such a call is made again (its timeout
//!   starts afresh).
//! - The init process of a pid namespace dies of a fault; traced, the kernel takes the fault for one more
//!   signal that an init ignores, and it faults for ever. So it is let go (man 7 pid_namespaces;
//!   kernel/signal.c, force_sig_info_to_task).

use crate::arch::Registers;
use crate::ptrace::{Result, Stopped, Tid};
use crate::status::Status;

/// What is kept of a task between two of its signal stops.
#[derive(Debug, Default)]
pub struct SignalState {
    /// Where the task was sent back to, to make its call again.
    rewound: Option<Registers>,
    /// Whether its process is the init of a pid namespace; looked up at its first fault.
    is_init: Option<bool>,
}

/// What to do with the signal.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    Deliver,
    /// Let the task go: it has to die of this, and can't while it is traced.
    Detach,
}

/// Signals whose default is to be ignored (signal(7)); SIGCONT acts before it is delivered.
const IGNORED_BY_DEFAULT: [i32; 4] = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT];
/// Signals that the processor's faults raise.
const FAULTS: [i32; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// Looks at a signal that is about to be delivered.
pub fn look(stopped: &mut Stopped, signal: i32, state: &mut SignalState) -> Result<Delivery> {
    if FAULTS.contains(&signal) {
        return fault(stopped, signal, state);
    }
    let mut registers = stopped.registers()?;
    let rewound = state.rewound.take().filter(|there| registers.same_place(there));
    if rewound.is_none() && !registers.is_interrupted_call() {
        return Ok(Delivery::Deliver);
    }
    let ignored = Dispositions::of(stopped.tid()).is_some_and(|d| d.ignores(signal));
    match rewound {
        // Another signal behind the ignored one, without an instruction in between: this one
        // interrupts the call where it has a handler.
        Some(there) if ignored => state.rewound = Some(there),
        Some(_) => {
            registers.call_was_interrupted();
            stopped.set_registers(&registers)?;
        }
        None if ignored => {
            registers.call_again();
            stopped.set_registers(&registers)?;
            state.rewound = Some(registers);
        }
        None => {}
    }
    Ok(Delivery::Deliver)
}

fn fault(stopped: &Stopped, signal: i32, state: &mut SignalState) -> Result<Delivery> {
    if !stopped.signal_is_a_fault()? {
        return Ok(Delivery::Deliver);
    }
    let tid = stopped.tid();
    let is_init = *state.is_init.get_or_insert_with(|| {
        Status::of(tid).is_some_and(|status| {
            status.field("NStgid").and_then(|ids| ids.split_whitespace().last()) == Some("1")
        })
    });
    let deadly = is_init && Dispositions::of(tid).is_some_and(|d| !d.catches(signal));
    Ok(if deadly { Delivery::Detach } else { Delivery::Deliver })
}

/// What a task does with signals: the masks of /proc/TID/status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dispositions {
    ignored: u64,
    caught: u64,
    blocked: u64,
}

impl Dispositions {
    fn of(tid: Tid) -> Option<Dispositions> {
        Dispositions::parse(&Status::of(tid)?)
    }

    /// None in gVisor, which doesn't tell.
    pub(crate) fn parse(status: &Status) -> Option<Dispositions> {
        let mask = |name: &str| u64::from_str_radix(status.field(name)?, 16).ok();
        Some(Dispositions { ignored: mask("SigIgn")?, caught: mask("SigCgt")?, blocked: mask("SigBlk")? })
    }

    pub(crate) fn ignores(self, signal: i32) -> bool {
        has(self.ignored, signal) || (IGNORED_BY_DEFAULT.contains(&signal) && !has(self.caught, signal))
    }

    /// Whether a fault runs a handler: one that is blocked kills, whatever its disposition.
    pub(crate) fn catches(self, signal: i32) -> bool {
        has(self.caught, signal) && !has(self.blocked, signal)
    }
}

fn has(mask: u64, signal: i32) -> bool {
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|m| m & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispositions(ignored: u64, caught: u64, blocked: u64) -> Dispositions {
        Dispositions { ignored, caught, blocked }
    }

    #[test]
    fn what_is_ignored() {
        let winch = 1 << (libc::SIGWINCH - 1);
        assert!(dispositions(0, 0, 0).ignores(libc::SIGWINCH));
        assert!(!dispositions(0, winch, 0).ignores(libc::SIGWINCH));
        assert!(!dispositions(0, 0, 0).ignores(libc::SIGUSR1));
        assert!(dispositions(1 << (libc::SIGUSR1 - 1), 0, 0).ignores(libc::SIGUSR1));
        assert!(dispositions(1 << 63, 0, 0).ignores(64) && !dispositions(u64::MAX, 0, 0).ignores(65));
    }

    #[test]
    fn a_blocked_fault_is_not_caught() {
        let segv = 1 << (libc::SIGSEGV - 1);
        assert!(dispositions(0, segv, 0).catches(libc::SIGSEGV));
        assert!(!dispositions(0, segv, segv).catches(libc::SIGSEGV));
        assert!(!dispositions(segv, 0, 0).catches(libc::SIGSEGV));
    }

    #[test]
    fn masks_are_read() {
        let status =
            "Name:\tsh\nSigBlk:\t0000000000010000\nSigIgn:\t0000000000000004\nSigCgt:\t0000000000000402\n";
        let parsed = Dispositions::parse(&Status::from_text(status));
        assert!(parsed.is_some_and(|d| d.ignores(libc::SIGQUIT) && d.catches(libc::SIGINT)));
        assert!(Dispositions::parse(&Status::from_text("Name:\tsh\n")).is_none());
    }
}

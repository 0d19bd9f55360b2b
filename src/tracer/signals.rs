//! Signals that would do to a traced task what they never do to an untraced one.
//!
//! - A signal that a task ignores is not even queued; for a traced task it is, so that the tracer can
//!   see it, and blocking calls return EINTR for nothing. Such a call is made again, until its time has passed
//!   (`timeouts.rs`), which is measured from the first of such signals.
//! - The init process of a pid namespace dies of a fault; traced, the kernel takes the fault for one more
//!   signal that an init ignores, and it faults for ever. So it is let go (man 7 pid_namespaces;
//!   kernel/signal.c, force_sig_info_to_task).
//! - To that process, nobody in its namespace can send what it does not handle, SIGSTOP included; traced, it gets
//!   that one (kernel/signal.c, sig_task_ignored).

use super::timeouts;
use crate::arch::{Registers, bytes_behind_fault};
use crate::ptrace::{Memory, Result, Stopped, Tid};
use crate::status::Status;
use std::time::Instant;

/// What is kept of a task between two of its signal stops.
#[derive(Debug, Default)]
pub struct SignalState {
    /// Where the task was sent back to, to make its call again.
    rewound: Option<Registers>,
    /// A call that is made again, and since when.
    again: Option<Again>,
    /// Whether its process is the init of a pid namespace; looked up at its first fault.
    is_init: Option<bool>,
}

/// A call that was interrupted for nothing.
#[derive(Debug)]
struct Again {
    /// Of the task when it makes the call.
    registers: Registers,
    since: Instant,
}

impl SignalState {
    /// Whether the end of the call that the task is in has to be seen.
    pub fn awaits_end_of_call(&self) -> bool {
        self.again.is_some()
    }

    /// The task leaves a call with this result.
    pub fn call_ended(&mut self, result: i64) {
        // The kernel's own ways to have it made again: linux/errno.h.
        if result != -i64::from(libc::EINTR) && !(-516..=-512).contains(&result) {
            self.again = None;
        }
    }
}

/// What to do with the signal.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    Deliver,
    /// Natively it would not have been sent.
    Drop,
    /// Let the task go: it has to die of this, and can't while it is traced.
    Detach,
}

/// Signals whose default is to be ignored (signal(7)); SIGCONT acts before it is delivered.
const IGNORED_BY_DEFAULT: [i32; 4] = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT];
/// Signals that the processor's faults raise.
const FAULTS: [i32; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// Looks at a signal that is about to be delivered.
pub fn look(
    stopped: &mut Stopped,
    signal: i32,
    state: &mut SignalState,
    memory: &Memory,
) -> Result<Delivery> {
    if FAULTS.contains(&signal) {
        return fault(stopped, signal, state, memory);
    }
    if stops_an_init_from_within(stopped, signal, state)? {
        return Ok(Delivery::Drop);
    }
    let mut registers = stopped.registers()?;
    let rewound = state.rewound.take().filter(|there| registers.same_place(there));
    if rewound.is_none() && !registers.is_interrupted_call() {
        return Ok(Delivery::Deliver);
    }
    let tid = stopped.tid();
    let ignored = Dispositions::of(tid)
        .is_some_and(|d| d.ignores(signal) || (!d.handles(signal) && is_init(tid, state)));
    match rewound {
        // Another signal behind the ignored one, without an instruction in between: this one
        // interrupts the call where it has a handler.
        Some(there) if ignored => state.rewound = Some(there),
        Some(_) => {
            registers.call_was_interrupted();
            stopped.set_registers(&registers)?;
            state.again = None;
        }
        None if ignored => make_again(stopped, registers, state, memory)?,
        None => state.again = None,
    }
    Ok(Delivery::Deliver)
}

/// Whether natively nobody would have been stopped.
pub fn stops_an_init_from_within(stopped: &Stopped, signal: i32, state: &mut SignalState) -> Result<bool> {
    Ok(signal == libc::SIGSTOP && stopped.signal_is_from_its_namespace()? && is_init(stopped.tid(), state))
}

/// Sends the task back to make its call once more, or gives it the answer of a call whose time has passed.
fn make_again(
    stopped: &mut Stopped,
    registers: Registers,
    state: &mut SignalState,
    memory: &Memory,
) -> Result<()> {
    let mut there = registers;
    there.call_again();
    let since = match state.again.take() {
        Some(again) if again.registers.same_place(&there) => again.since,
        _ => Instant::now(),
    };
    if let Some(timeout) = timeouts::of_call(&registers, memory, stopped)
        && since.elapsed() >= timeout.after
    {
        let mut late = registers;
        late.set_result(timeout.result);
        return stopped.set_registers(&late);
    }
    stopped.set_registers(&there)?;
    state.rewound = Some(there);
    state.again = Some(Again { registers: there, since });
    Ok(())
}

fn fault(stopped: &mut Stopped, signal: i32, state: &mut SignalState, memory: &Memory) -> Result<Delivery> {
    if !stopped.signal_is_a_fault()? {
        return Ok(Delivery::Deliver);
    }
    let tid = stopped.tid();
    let deadly = is_init(tid, state) && Dispositions::of(tid).is_some_and(|d| !d.catches(signal));
    if !deadly {
        return Ok(Delivery::Deliver);
    }
    // It has to do it once more, without a tracer. After a trap it is behind the instruction already.
    let mut registers = stopped.registers()?;
    let mut before = [0; 2];
    let is_known = memory.read(stopped, registers.before_instruction(2), &mut before).is_ok()
        && stopped.signal_is_the_kernels()?;
    let trap_bytes = bytes_behind_fault(signal, is_known.then_some(before));
    if trap_bytes > 0 {
        registers.step_back(trap_bytes);
        stopped.set_registers(&registers)?;
    }
    Ok(Delivery::Detach)
}

/// Whether the kernel would leave everything as it is when a fault makes the task stop with this signal, and the
/// tracer drops it. False where nobody says.
pub(crate) fn takes_quietly(tid: Tid, signal: i32) -> bool {
    Dispositions::of(tid).is_some_and(|d| !has(d.blocked, signal) && !has(d.ignored, signal))
}

/// Whether the task's process is the first one of a pid namespace.
fn is_init(tid: Tid, state: &mut SignalState) -> bool {
    *state.is_init.get_or_insert_with(|| {
        Status::of(tid).is_some_and(|status| {
            status.field("NStgid").and_then(|ids| ids.split_whitespace().last()) == Some("1")
        })
    })
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

    /// Whether it has a handler.
    fn handles(self, signal: i32) -> bool {
        has(self.caught, signal)
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

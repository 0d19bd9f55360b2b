//! Typed wrappers of ptrace(2): a stopped task is a value, and resuming it consumes the value, so a
//! running task can be neither read nor written.

pub(crate) mod memory;
mod presence;
mod registers;

pub use memory::Memory;

use crate::arch::{Abi, RawCall, low32};
use std::fmt;

/// A task's id as the tracer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub i32);

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an operation on a stopped task failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task was killed while it was stopped; its exit status is on the way.
    #[error("task {0} died")]
    Died(Tid),
    #[error("{operation} of task {tid}: {errno}")]
    Failed { operation: &'static str, tid: Tid, errno: nix::Error },
}

pub type Result<T> = std::result::Result<T, Error>;

/// Bit that PTRACE_O_TRACESYSGOOD sets in the signal of a syscall stop.
pub const SYSGOOD: i32 = 0x80;

/// How a task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Until something stops it by itself.
    Continue,
    /// Until the next entry or exit of a call.
    ToSyscallStop,
}

/// linux/ptrace.h; libc's names for them are only there for some C libraries.
const PTRACE_O_SUSPEND_SECCOMP: libc::c_int = 1 << 21;
/// asm-generic/siginfo.h.
const SYS_SECCOMP: libc::c_int = 1;
const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;

/// What the kernel says of a syscall or seccomp stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyscallInfo {
    /// A call's entry; `arch` is an AUDIT_ARCH_* value.
    Entry {
        arch: u32,
        call: RawCall,
    },
    Exit,
    /// A filter answered SECCOMP_RET_TRACE with `data`.
    Seccomp {
        data: u32,
        call: RawCall,
    },
    /// It is none of these.
    Other,
}

/// `struct ptrace_syscall_info` (linux/ptrace.h), as far as its entry and seccomp forms go.
#[repr(C)]
#[derive(Default)]
pub(crate) struct RawInfo {
    op: u8,
    padding: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    number: u64,
    arguments: [u64; 6],
    seccomp_data: u32,
    reserved: u32,
}

impl RawInfo {
    pub(crate) fn decode(&self) -> SyscallInfo {
        let mut call =
            RawCall { number: self.number, arguments: self.arguments, behind: self.instruction_pointer };
        if Abi::of(self.arch, self.number).register_bytes() == 4 {
            // Made by 64-bit code, such a call may have anything in the upper halves.
            call.arguments = call.arguments.map(|argument| u64::from(low32(argument)));
        }
        // PTRACE_SYSCALL_INFO_ENTRY, _EXIT, _SECCOMP.
        match self.op {
            1 => SyscallInfo::Entry { arch: self.arch, call },
            2 => SyscallInfo::Exit,
            3 => SyscallInfo::Seccomp { data: self.seccomp_data, call },
            _ => SyscallInfo::Other,
        }
    }
}

/// A task in a ptrace stop.
///
/// What changes the task makes sure first that it still is the task that stopped.
#[derive(Debug)]
pub struct Stopped {
    tid: Tid,
    /// As wait4(2) gave it.
    status: i32,
}

impl Stopped {
    /// To be made from a wait status that says so, and only once per status.
    pub(crate) fn from_wait(tid: Tid, status: i32) -> Self {
        Stopped { tid, status }
    }

    pub fn tid(&self) -> Tid {
        self.tid
    }

    /// The message of the event that the task is stopped for.
    pub fn event_message(&self) -> Result<u64> {
        let mut message: libc::c_ulong = 0;
        // SAFETY: PTRACE_GETEVENTMSG writes one unsigned long to the data pointer.
        self.check("PTRACE_GETEVENTMSG", unsafe {
            libc::ptrace(libc::PTRACE_GETEVENTMSG, self.tid.0, 0, &raw mut message)
        })?;
        Ok(message)
    }

    /// What stop this is and by which call, in one request: cheaper than all registers and the event's
    /// message. None where PTRACE_GET_SYSCALL_INFO is not there (before Linux 5.3, gVisor).
    pub fn syscall_info(&self) -> Result<Option<SyscallInfo>> {
        let mut info = RawInfo::default();
        // SAFETY: the kernel writes no more bytes than the address argument says.
        let answer =
            unsafe { libc::ptrace(PTRACE_GET_SYSCALL_INFO, self.tid.0, size_of::<RawInfo>(), &raw mut info) };
        match self.check("PTRACE_GET_SYSCALL_INFO", answer) {
            Ok(()) => Ok(Some(info.decode())),
            Err(died @ Error::Died(_)) => Err(died),
            Err(Error::Failed { .. }) => Ok(None),
        }
    }

    /// The set of blocked signals, as the kernel's 64-bit mask.
    pub fn signal_mask(&self) -> Result<u64> {
        let mut mask = 0u64;
        // SAFETY: PTRACE_GETSIGMASK writes as many bytes as the address argument says: 8.
        self.check("PTRACE_GETSIGMASK", unsafe {
            libc::ptrace(libc::PTRACE_GETSIGMASK, self.tid.0, size_of::<u64>(), &raw mut mask)
        })?;
        Ok(mask)
    }

    pub fn set_signal_mask(&mut self, mask: u64) -> Result<()> {
        self.confirm()?;
        // SAFETY: PTRACE_SETSIGMASK reads as many bytes as the address argument says: 8.
        self.check("PTRACE_SETSIGMASK", unsafe {
            libc::ptrace(libc::PTRACE_SETSIGMASK, self.tid.0, size_of::<u64>(), &raw const mask)
        })
    }

    /// `Died` where the task is not in the stop any more that its wait status spoke of. A thread that
    /// executes a program takes over its leader's id, so while the tracer still deals with a stop of the
    /// leader's, another program may stand there: it must not be written to. (The kernel keeps the upper
    /// part of the status in `si_code` of every stop but a signal's.)
    pub fn confirm(&self) -> Result<()> {
        let info = self.signal_info()?;
        let signal = libc::WSTOPSIG(self.status);
        let is_there = if self.status >> 8 == signal && signal & SYSGOOD == 0 {
            info.si_signo == signal
        } else {
            info.si_code == self.status >> 8
        };
        if is_there { Ok(()) } else { Err(Error::Died(self.tid)) }
    }

    /// Whether the signal that the task is stopped for is a consequence of what it executes (a fault),
    /// and not sent by somebody: `si_code` is positive, as of sigaction(2).
    pub fn signal_is_a_fault(&self) -> Result<bool> {
        Ok(self.signal_info()?.si_code > 0)
    }

    /// Whether the kernel itself sent the signal that the task is stopped for, with no more to say of it.
    pub fn signal_is_the_kernels(&self) -> Result<bool> {
        Ok(self.signal_info()?.si_code == libc::SI_KERNEL)
    }

    /// Whether a process of the task's pid namespace, or below, sent the signal that it is stopped for: others have the
    /// id 0 there (man 7 pid_namespaces).
    pub fn signal_is_from_its_namespace(&self) -> Result<bool> {
        let info = self.signal_info()?;
        // SAFETY: signals with such a code have this field (sigaction(2)); of others, any bits are a number.
        Ok(info.si_code <= 0 && unsafe { info.si_pid() } != 0)
    }

    fn signal_info(&self) -> Result<libc::siginfo_t> {
        // SAFETY: the struct is plain data, for which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: PTRACE_GETSIGINFO writes one siginfo_t to the data pointer.
        self.check("PTRACE_GETSIGINFO", unsafe {
            libc::ptrace(libc::PTRACE_GETSIGINFO, self.tid.0, 0, &raw mut info)
        })?;
        Ok(info)
    }

    /// Whether a filter took the call that the task was about to make (SECCOMP_RET_TRAP).
    pub fn signal_is_of_a_filter(&self) -> Result<bool> {
        Ok(self.signal_info()?.si_code == SYS_SECCOMP)
    }

    /// Changes the address that the signal of such a filter tells.
    pub fn set_address_of_filtered_call(&mut self, address: u64) -> Result<()> {
        self.confirm()?;
        let mut info = self.signal_info()?;
        let place = (&raw mut info).cast::<u64>();
        // SAFETY: si_call_addr is the first field behind the common ones (asm-generic/siginfo.h), well within the
        // struct, and aligned.
        unsafe { place.add(2).write(address) };
        // SAFETY: PTRACE_SETSIGINFO reads one siginfo_t from the data pointer.
        self.check("PTRACE_SETSIGINFO", unsafe {
            libc::ptrace(libc::PTRACE_SETSIGINFO, self.tid.0, 0, &raw const info)
        })
    }

    /// Suspends all seccomp filters of the task, or lets them work again. False where that can't be had:
    /// it takes CAP_SYS_ADMIN, a tracer without a filter of its own, and a kernel with
    /// CONFIG_CHECKPOINT_RESTORE; gVisor lacks it.
    pub fn suspend_seccomp(&mut self, options: Options, suspend: bool) -> Result<bool> {
        self.confirm()?;
        let bits = options.bits() | if suspend { PTRACE_O_SUSPEND_SECCOMP } else { 0 };
        // SAFETY: no pointers; the data argument is a set of option bits.
        let answer = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, self.tid.0, 0, bits) };
        match self.check("PTRACE_SETOPTIONS", answer) {
            Ok(()) => Ok(true),
            Err(died @ Error::Died(_)) => Err(died),
            Err(Error::Failed { .. }) => Ok(false),
        }
    }

    /// Lets the task run until its next syscall stop, from the middle of a handler.
    pub fn step(self) -> Result<()> {
        self.confirm()?;
        self.resume(Resume::ToSyscallStop, 0)
    }

    /// Makes the task stop once more, before its next instruction.
    pub fn interrupt_soon(&self) -> Result<()> {
        // SAFETY: no pointers.
        self.check("PTRACE_INTERRUPT", unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, self.tid.0, 0, 0) })
    }

    /// Lets the task go for ever, with `signal` delivered.
    pub fn detach(self, signal: i32) -> Result<()> {
        // SAFETY: no pointers; the data argument is a signal number.
        self.check("PTRACE_DETACH", unsafe { libc::ptrace(libc::PTRACE_DETACH, self.tid.0, 0, signal) })
    }

    /// Lets the task run, with `signal` delivered (0: none).
    pub fn resume(self, how: Resume, signal: i32) -> Result<()> {
        let (request, operation) = match how {
            Resume::Continue => (libc::PTRACE_CONT, "PTRACE_CONT"),
            Resume::ToSyscallStop => (libc::PTRACE_SYSCALL, "PTRACE_SYSCALL"),
        };
        // SAFETY: no pointers; the data argument is a signal number.
        self.check(operation, unsafe { libc::ptrace(request, self.tid.0, 0, signal) })
    }

    /// Keeps a group-stopped task stopped, but reports when that ends.
    pub fn listen(self) -> Result<()> {
        // SAFETY: no pointers.
        self.check("PTRACE_LISTEN", unsafe { libc::ptrace(libc::PTRACE_LISTEN, self.tid.0, 0, 0) })
    }

    fn check(&self, operation: &'static str, answer: libc::c_long) -> Result<()> {
        if answer != -1 {
            return Ok(());
        }
        Err(match nix::Error::last() {
            nix::Error::ESRCH => Error::Died(self.tid),
            errno => Error::Failed { operation, tid: self.tid, errno },
        })
    }
}

/// What a tracee's stops are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A task also stops when it is about to end: one more stop for each.
    pub reporting_ends: bool,
}

impl Options {
    fn bits(self) -> libc::c_int {
        let ends = if self.reporting_ends { libc::PTRACE_O_TRACEEXIT } else { 0 };
        ends | libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEEXEC
            | libc::PTRACE_O_TRACESECCOMP
            | libc::PTRACE_O_EXITKILL
    }
}

/// Starts tracing a running task and all that it will start; needs no stop of it.
/// The tracees die with the tracer: a filter without one answers ENOSYS.
pub fn seize(tid: Tid, options: Options) -> std::result::Result<(), nix::Error> {
    // SAFETY: no pointers; the data argument is a set of option bits.
    let answer = unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid.0, 0, options.bits()) };
    nix::Error::result(answer).map(drop)
}

/// Stops a seized task, so that it can be resumed in another way, or let go. It makes blocking calls return
/// EINTR: for the launcher's own process before it becomes the command, and for tasks whose call is made again.
pub fn interrupt(tid: Tid) -> std::result::Result<(), nix::Error> {
    // SAFETY: no pointers.
    nix::Error::result(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid.0, 0, 0) }).map(drop)
}

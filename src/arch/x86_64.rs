//! x86-64, with the programs of i386 and x32 that its kernels run.
//!
//! Numbers: Linux arch/x86/entry/syscalls/syscall_{64,32}.tbl.

use super::{Call, Injected, RawCall, int_argument, low32};
use goblin::elf::header;
use libc::user_regs_struct;

/// How a system call was made: which numbers, which registers, which struct layouts. The numbers stand in the data of a
/// filter's stops.
#[repr(u16)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abi {
    /// `syscall` in 64-bit code.
    X86_64 = 1,
    /// `int 0x80`, or `sysenter`/`syscall` in 32-bit code.
    I386 = 2,
    /// 64-bit code with 32-bit pointers: the 64-bit numbers with bit 30 set.
    X32 = 3,
}

impl Abi {
    pub const ALL: [Abi; 3] = [Abi::X86_64, Abi::I386, Abi::X32];
    /// Of the tracer itself.
    pub const NATIVE: Abi = Abi::X86_64;

    /// The bytes of the instruction that makes a call.
    pub fn syscall_instruction(self) -> &'static [u8] {
        match self {
            Abi::X86_64 | Abi::X32 => &[0x0F, 0x05],
            Abi::I386 => &[INT, 0x80],
        }
    }

    /// How wide pointers are in structs.
    pub fn pointer_bytes(self) -> usize {
        if self == Abi::X86_64 { 8 } else { 4 }
    }

    /// How wide the registers are that a program has.
    pub fn register_bytes(self) -> usize {
        if self == Abi::I386 { 4 } else { 8 }
    }

    /// Of a call with this number, made by the rules of an AUDIT_ARCH_*.
    pub fn of(arch: u32, number: u64) -> Abi {
        if arch == AUDIT_ARCH_I386 {
            Abi::I386
        } else if low32(number) & X32_BIT != 0 {
            Abi::X32
        } else {
            Abi::X86_64
        }
    }
}

/// Machines in the headers of programs that run here (elf.h).
pub const MACHINES: [u16; 2] = [header::EM_X86_64, header::EM_386];
/// Bit that marks an x32 call (`__X32_SYSCALL_BIT`, asm/unistd.h).
pub const X32_BIT: u32 = 0x4000_0000;
/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386` (linux/audit.h), as seccomp reports them.
pub const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
pub const AUDIT_ARCH_I386: u32 = 0x4000_0003;
/// The code segment of 64-bit user code (`__USER_CS`); 32-bit code has 0x23.
const USER_CS_64: u64 = 0x33;
/// `syscall`, `sysenter` and `int 0x80` are all two bytes long; after a `sysenter` the kernel
/// reports the address behind the vdso's `int 0x80`, so stepping back works for it as well.
const SYSCALL_INSTRUCTION_BYTES: u64 = 2;
/// `int n` and `int3`.
const INT: u8 = 0xCD;
pub const INT3: u8 = 0xCC;

/// By how many bytes a task that stopped for a fault is behind the instruction that raised it. `before`: the two bytes
/// in front of where it is, where the kernel itself sent the signal.
pub fn bytes_behind_fault(signal: i32, before: Option<[u8; 2]>) -> u64 {
    match (signal, before) {
        (libc::SIGSYS, _) => SYSCALL_INSTRUCTION_BYTES,
        (libc::SIGSEGV, Some([INT, _])) => 2,
        (libc::SIGTRAP, Some([_, INT3])) => 1,
        _ => 0,
    }
}

impl Call {
    /// Its number under `abi` (without the x32 bit), where that ABI has it.
    pub fn number(self, abi: Abi) -> Option<u32> {
        match (self, abi) {
            (Call::Open, Abi::I386) => Some(5),
            (Call::Open, _) => Some(2),
            (Call::Openat, Abi::I386) => Some(295),
            (Call::Openat, _) => Some(257),
            (Call::Openat2, _) => Some(437),
            (Call::Statfs, Abi::I386) => Some(99),
            (Call::Statfs, _) => Some(137),
            (Call::Fstatfs, Abi::I386) => Some(100),
            (Call::Fstatfs, _) => Some(138),
            (Call::Statfs64, Abi::I386) => Some(268),
            (Call::Fstatfs64, Abi::I386) => Some(269),
            (Call::Statfs64 | Call::Fstatfs64, _) => None,
            (Call::Statmount, _) => Some(457),
            (Call::Clone, Abi::I386) => Some(120),
            (Call::Clone, _) => Some(56),
            (Call::Clone3, _) => Some(435),
            (Call::Userfaultfd, Abi::I386) => Some(374),
            (Call::Userfaultfd, _) => Some(323),
            (Call::Ptrace, Abi::X86_64) => Some(101),
            (Call::Ptrace, Abi::I386) => Some(26),
            (Call::Ptrace, Abi::X32) => Some(521),
        }
    }

    /// Whether `number`, as a task of this ABI gave it, is this call.
    pub fn is(self, abi: Abi, number: u64) -> bool {
        self.number(abi) == Some(low32(number) & !x32_bit(abi))
    }
}

impl Injected {
    fn number(self, abi: Abi) -> u64 {
        let (x86_64, i386) = match self {
            Injected::Mmap => (9, 192), // mmap2: the offset is in pages, and ours is 0
            Injected::Munmap => (11, 91),
            Injected::MemfdCreate => (319, 356),
            Injected::Openat => (257, 295),
            Injected::Openat2 => (437, 437),
            Injected::Dup3 => (292, 330),
            Injected::Close => (3, 6),
            Injected::PidfdOpen => (434, 434),
            Injected::PidfdGetfd => (438, 438),
            Injected::Ptrace => (if abi == Abi::X32 { 521 } else { 101 }, 26),
            Injected::Seccomp => (317, 354),
            Injected::Prctl => (157, 172),
            Injected::Fallocate => (285, 324),
        };
        match abi {
            Abi::I386 => i386,
            Abi::X86_64 | Abi::X32 => x86_64 | u64::from(x32_bit(abi)),
        }
    }
}

fn x32_bit(abi: Abi) -> u32 {
    if abi == Abi::X32 { X32_BIT } else { 0 }
}

/// The registers of a stopped task.
#[derive(Debug, Clone, Copy)]
pub struct Registers(pub user_regs_struct);

impl Registers {
    /// The ABI that the code segment and number suggest. A 64-bit program's `int 0x80` can't be told
    /// this way: where seccomp or PTRACE_GET_SYSCALL_INFO says the architecture, believe that instead.
    pub fn likely_abi(&self) -> Abi {
        if self.0.cs != USER_CS_64 {
            Abi::I386
        } else if self.0.orig_rax.cast_signed() >= 0 && low32(self.0.orig_rax) & X32_BIT != 0 {
            Abi::X32
        } else {
            // Also in no call, which is the number -1.
            Abi::X86_64
        }
    }

    /// The number of the call that the task is in.
    pub fn number(&self) -> u64 {
        self.0.orig_rax
    }

    /// The call that the task is in.
    pub fn call(&self, abi: Abi) -> RawCall {
        RawCall { number: self.number(), arguments: self.arguments(abi), behind: self.instruction() }
    }

    /// The six arguments in the kernel's order; those of i386 without their upper halves.
    pub fn arguments(&self, abi: Abi) -> [u64; 6] {
        let r = &self.0;
        match abi {
            Abi::X86_64 | Abi::X32 => [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9],
            Abi::I386 => [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp].map(|v| u64::from(low32(v))),
        }
    }

    /// Changes the first argument.
    pub fn set_first_argument(&mut self, abi: Abi, value: u64) {
        match abi {
            Abi::X86_64 | Abi::X32 => self.0.rdi = value,
            Abi::I386 => self.0.rbx = value,
        }
    }

    /// What the call returned: a value, or a negative errno. Only meaningful at an exit stop.
    pub fn result(&self, abi: Abi) -> i64 {
        match abi {
            Abi::I386 => i64::from(int_argument(self.0.rax)),
            Abi::X86_64 | Abi::X32 => self.0.rax.cast_signed(),
        }
    }

    /// At a syscall stop: whether it is the call's entry. (The kernel puts that value there before a tracer looks.)
    pub fn is_at_entry(&self, abi: Abi) -> bool {
        self.result(abi) == -i64::from(libc::ENOSYS)
    }

    pub fn set_result(&mut self, value: i64) {
        self.0.rax = value.cast_unsigned();
    }

    /// Whether the task is on its way back from a call that was interrupted, answers EINTR, and can be
    /// made again. (Calls that the kernel restarts by itself have another value here; close(2) has
    /// closed the descriptor all the same.)
    pub fn is_interrupted_call(&self) -> bool {
        let abi = self.likely_abi();
        let in_call = self.0.orig_rax.cast_signed() >= 0;
        let is_close = self.0.orig_rax == Injected::Close.number(abi);
        in_call && !is_close && self.result(abi) == -i64::from(libc::EINTR)
    }

    /// From an exit: makes the task execute its call once more.
    pub fn call_again(&mut self) {
        self.0.rax = self.0.orig_rax;
        self.0.rip -= SYSCALL_INSTRUCTION_BYTES;
    }

    /// For a task that leaves a call which only the tracer may have interrupted: leaves it to the kernel, on the way to user
    /// mode, whether EINTR is the answer (a handler runs) or the call is made again. ERESTARTNOHAND (linux/errno.h).
    pub fn leave_interrupted_call_to_the_kernel(&mut self) {
        if self.is_interrupted_call() {
            self.set_result(-514);
        }
    }

    /// Puts the task behind an instruction at `site` that makes a call, so that `inject` executes that one.
    pub fn go_behind(&mut self, site: u64) {
        self.0.rip = site + SYSCALL_INSTRUCTION_BYTES;
    }

    /// Takes back `call_again`: the call answers EINTR after all.
    pub fn call_was_interrupted(&mut self) {
        self.0.rip += SYSCALL_INSTRUCTION_BYTES;
        self.set_result(-i64::from(libc::EINTR));
    }

    /// The address of the next instruction; in a call, the one behind it.
    pub fn instruction(&self) -> u64 {
        self.0.rip
    }

    /// Makes the task, stopped at a call's entry, skip it, with this result.
    pub fn skip_call_with(&mut self, result: i64) {
        self.skip_call();
        self.set_result(result);
    }

    /// The address of what stands so many bytes in front of the next instruction.
    pub fn before_instruction(&self, bytes: u64) -> u64 {
        self.0.rip.wrapping_sub(bytes)
    }

    /// Sends the task back to an instruction of that length, to execute it again.
    pub fn step_back(&mut self, bytes: u64) {
        self.0.rip = self.0.rip.wrapping_sub(bytes);
    }

    /// Whether the task is where `other` says, about to do the same.
    pub fn same_place(&self, other: &Registers) -> bool {
        let of = |r: &user_regs_struct| (r.rip, r.rsp, r.rax, r.orig_rax);
        of(&self.0) == of(&other.0)
    }

    /// Makes the task, stopped at a call's entry, skip it: no call has the number -1.
    pub fn skip_call(&mut self) {
        self.0.orig_rax = u64::MAX;
    }

    /// From an exit stop: execute the same instruction again, as the call `call` with `arguments`.
    pub fn inject(&mut self, abi: Abi, call: Injected, arguments: [u64; 6]) {
        let r = &mut self.0;
        r.rip -= SYSCALL_INSTRUCTION_BYTES;
        r.rax = call.number(abi);
        // The kernel restarts interrupted calls by orig_rax and rax; a positive rax is never restarted.
        r.orig_rax = r.rax;
        match abi {
            Abi::X86_64 | Abi::X32 => {
                [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = arguments;
            }
            Abi::I386 => {
                [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp] = arguments;
            }
        }
    }
}

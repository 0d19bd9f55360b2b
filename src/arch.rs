//! x86-64: registers, system call numbers and the ABIs of a 64-bit kernel's tasks.
//!
//! Everything that depends on the processor is here; `Abi` is the question that the rest asks.
//! Numbers: Linux arch/x86/entry/syscalls/syscall_{64,32}.tbl.

use libc::user_regs_struct;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("fsmasq runs on x86-64 only so far");

/// How a system call was made: which numbers, which registers, which struct layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abi {
    /// `syscall` in 64-bit code.
    X86_64,
    /// `int 0x80`, or `sysenter`/`syscall` in 32-bit code.
    I386,
    /// 64-bit code with 32-bit pointers: the 64-bit numbers with bit 30 set.
    X32,
}

impl Abi {
    /// The bytes of the instruction that makes a call.
    pub fn syscall_instruction(self) -> [u8; 2] {
        match self {
            Abi::X86_64 | Abi::X32 => [0x0F, 0x05],
            Abi::I386 => [0xCD, 0x80],
        }
    }

    /// How wide pointers are in structs.
    pub fn pointer_bytes(self) -> usize {
        if self == Abi::X86_64 { 8 } else { 4 }
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

/// A system call that some handler wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    Open,
    Openat,
    Openat2,
    Statfs,
    Fstatfs,
    Statfs64,
    Fstatfs64,
    Statmount,
    Clone,
    Clone3,
    Ptrace,
    Userfaultfd,
}

impl Call {
    /// The name as in syscalls(2).
    pub fn name(self) -> &'static str {
        match self {
            Call::Open => "open",
            Call::Openat => "openat",
            Call::Openat2 => "openat2",
            Call::Statfs => "statfs",
            Call::Fstatfs => "fstatfs",
            Call::Statfs64 => "statfs64",
            Call::Fstatfs64 => "fstatfs64",
            Call::Statmount => "statmount",
            Call::Clone => "clone",
            Call::Clone3 => "clone3",
            Call::Ptrace => "ptrace",
            Call::Userfaultfd => "userfaultfd",
        }
    }

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

/// A call that the tracer makes a task execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {
    Mmap,
    Munmap,
    MemfdCreate,
    Openat,
    Openat2,
    Dup3,
    Close,
    PidfdOpen,
    PidfdGetfd,
    Ptrace,
    Seccomp,
    Prctl,
    Fallocate,
}

impl Injected {
    pub fn name(self) -> &'static str {
        match self {
            Injected::Mmap => "mmap",
            Injected::Munmap => "munmap",
            Injected::MemfdCreate => "memfd_create",
            Injected::Openat => "openat",
            Injected::Openat2 => "openat2",
            Injected::Dup3 => "dup3",
            Injected::Close => "close",
            Injected::PidfdOpen => "pidfd_open",
            Injected::PidfdGetfd => "pidfd_getfd",
            Injected::Ptrace => "ptrace",
            Injected::Seccomp => "seccomp",
            Injected::Prctl => "prctl",
            Injected::Fallocate => "fallocate",
        }
    }

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

/// The low 32 bits: what the kernel looks at in an `int` or `unsigned` argument.
#[allow(clippy::cast_possible_truncation)] // the point of the function
pub fn low32(value: u64) -> u32 {
    (value & 0xFFFF_FFFF) as u32
}

/// An `int` argument, such as a descriptor.
pub fn int_argument(value: u64) -> i32 {
    low32(value).cast_signed()
}

/// A call as a task makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawCall {
    pub number: u64,
    /// In the kernel's order; those of i386 without their upper halves.
    pub arguments: [u64; 6],
    /// The address behind the instruction that makes it.
    pub behind: u64,
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

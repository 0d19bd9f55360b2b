//! aarch64: written and compiled, and tried in an emulated machine only. Programs of 32 bits are left as they are.
//!
//! Numbers: Linux include/uapi/asm-generic/unistd.h.

use super::{Call, Injected, RawCall, low32};
use goblin::elf::header;
use libc::user_regs_struct;

/// How a system call was made: which numbers, which registers, which struct layouts. The numbers stand in the data of a
/// filter's stops.
#[repr(u16)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abi {
    Aarch64 = 1,
    /// 32-bit code. No call of it is handled, so none has a number here.
    Arm = 2,
}

impl Abi {
    pub const ALL: [Abi; 2] = [Abi::Aarch64, Abi::Arm];
    /// Of the tracer itself.
    pub const NATIVE: Abi = Abi::Aarch64;

    /// The bytes of the instruction that makes a call: `svc #0`.
    pub fn syscall_instruction(self) -> &'static [u8] {
        match self {
            Abi::Aarch64 => &[0x01, 0x00, 0x00, 0xD4],
            Abi::Arm => &[0x00, 0x00, 0x00, 0xEF],
        }
    }

    /// How wide pointers are in structs.
    pub fn pointer_bytes(self) -> usize {
        self.register_bytes()
    }

    /// How wide the registers are that a program has.
    pub fn register_bytes(self) -> usize {
        if self == Abi::Arm { 4 } else { 8 }
    }

    /// Of a call made by the rules of an AUDIT_ARCH_*.
    pub fn of(arch: u32, _: u64) -> Abi {
        if arch == AUDIT_ARCH_AARCH64 { Abi::Aarch64 } else { Abi::Arm }
    }
}

/// Machines in the headers of programs that run here (elf.h).
pub const MACHINES: [u16; 2] = [header::EM_AARCH64, header::EM_ARM];
/// `AUDIT_ARCH_AARCH64` (linux/audit.h), as seccomp reports it.
pub const AUDIT_ARCH_AARCH64: u32 = 0xC000_00B7;
const SYSCALL_INSTRUCTION_BYTES: u64 = 4;
/// Where a call's number is, by the kernel's convention.
const NUMBER: usize = 8;
/// What the kernel shows at syscall stops says whether it is an entry (0) or an exit (1); what is written to it then is
/// lost (arch/arm64/kernel/ptrace.c, report_syscall).
const DIRECTION: usize = 7;

/// By how many bytes a task that stopped for a fault is behind the instruction that raised it: `brk` leaves it there.
pub fn bytes_behind_fault(signal: i32, _: Option<[u8; 2]>) -> u64 {
    if signal == libc::SIGSYS { SYSCALL_INSTRUCTION_BYTES } else { 0 }
}

impl Call {
    /// Its number under `abi`, where that ABI has it.
    pub fn number(self, abi: Abi) -> Option<u32> {
        if abi == Abi::Arm {
            return None;
        }
        match self {
            Call::Open | Call::Statfs64 | Call::Fstatfs64 => None,
            Call::Openat => Some(56),
            Call::Openat2 => Some(437),
            Call::Statfs => Some(43),
            Call::Fstatfs => Some(44),
            Call::Statmount => Some(457),
            Call::Clone => Some(220),
            Call::Clone3 => Some(435),
            Call::Ptrace => Some(117),
            Call::Userfaultfd => Some(282),
        }
    }

    /// Whether `number`, as a task of this ABI gave it, is this call.
    pub fn is(self, abi: Abi, number: u64) -> bool {
        self.number(abi) == Some(low32(number))
    }
}

impl Injected {
    fn number(self) -> u64 {
        match self {
            Injected::Mmap => 222,
            Injected::Munmap => 215,
            Injected::MemfdCreate => 279,
            Injected::Openat => 56,
            Injected::Openat2 => 437,
            Injected::Dup3 => 24,
            Injected::Close => 57,
            Injected::PidfdOpen => 434,
            Injected::PidfdGetfd => 438,
            Injected::Ptrace => 117,
            Injected::Seccomp => 277,
            Injected::Prctl => 167,
            Injected::Fallocate => 47,
        }
    }
}

/// The registers of a stopped task.
///
/// The kernel doesn't show the first argument of a call once that has returned, nor whether a task that stops for a
/// signal is in a call. So a call that was interrupted can't be made again from here.
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    pub general: user_regs_struct,
    /// The call at whose entry the task is must not be made; its number is no general register.
    pub skips_call: bool,
}

impl Registers {
    pub fn likely_abi(&self) -> Abi {
        // PSTATE.M[4]: AArch32 state.
        if self.general.pstate & 0x10 == 0 { Abi::Aarch64 } else { Abi::Arm }
    }

    /// The number of the call that the task is in.
    pub fn number(&self) -> u64 {
        self.general.regs[NUMBER]
    }

    /// The call that the task is in.
    pub fn call(&self, abi: Abi) -> RawCall {
        RawCall { number: self.number(), arguments: self.arguments(abi), behind: self.instruction() }
    }

    /// The six arguments; at an exit, the result in place of the first.
    pub fn arguments(&self, _: Abi) -> [u64; 6] {
        std::array::from_fn(|index| self.general.regs[index])
    }

    /// Changes the first argument.
    pub fn set_first_argument(&mut self, _: Abi, value: u64) {
        self.general.regs[0] = value;
    }

    /// What the call returned: a value, or a negative errno. Only meaningful at an exit stop.
    pub fn result(&self, _: Abi) -> i64 {
        self.general.regs[0].cast_signed()
    }

    /// At a syscall stop: whether it is the call's entry.
    pub fn is_at_entry(&self, _: Abi) -> bool {
        self.general.regs[DIRECTION] == 0
    }

    pub fn set_result(&mut self, value: i64) {
        self.general.regs[0] = value.cast_unsigned();
    }

    /// Nothing here tells.
    pub fn is_interrupted_call(&self) -> bool {
        false
    }

    /// From the entry of a call: makes the task execute it once more.
    pub fn call_again(&mut self) {
        self.general.pc -= SYSCALL_INSTRUCTION_BYTES;
    }

    /// Nothing to do: the kernel has seen to that before a tracer looks.
    pub fn leave_interrupted_call_to_the_kernel(&mut self) {}

    /// Puts the task behind an instruction at `site` that makes a call, so that `inject` executes that one.
    pub fn go_behind(&mut self, site: u64) {
        self.general.pc = site + SYSCALL_INSTRUCTION_BYTES;
    }

    /// Takes back `call_again`: the call answers EINTR after all.
    pub fn call_was_interrupted(&mut self) {
        self.general.pc += SYSCALL_INSTRUCTION_BYTES;
        self.set_result(-i64::from(libc::EINTR));
    }

    /// The address of the next instruction; in a call, the one behind it.
    pub fn instruction(&self) -> u64 {
        self.general.pc
    }

    /// Makes the task, stopped at a call's entry, skip it, with this result.
    pub fn skip_call_with(&mut self, result: i64) {
        self.skip_call();
        self.set_result(result);
    }

    /// The address of what stands so many bytes in front of the next instruction.
    pub fn before_instruction(&self, bytes: u64) -> u64 {
        self.general.pc.wrapping_sub(bytes)
    }

    /// Sends the task back to an instruction of that length, to execute it again.
    pub fn step_back(&mut self, bytes: u64) {
        self.general.pc = self.general.pc.wrapping_sub(bytes);
    }

    /// Whether the task is where `other` says, about to do the same.
    pub fn same_place(&self, other: &Registers) -> bool {
        let of = |r: &user_regs_struct| (r.pc, r.sp, r.regs[0], r.regs[NUMBER]);
        of(&self.general) == of(&other.general)
    }

    /// Makes the task, stopped at a call's entry, skip it: no call has the number -1.
    pub fn skip_call(&mut self) {
        self.skips_call = true;
    }

    /// From an exit stop: execute the same instruction again, as the call `call` with `arguments`.
    pub fn inject(&mut self, _: Abi, call: Injected, arguments: [u64; 6]) {
        let r = &mut self.general;
        r.pc -= SYSCALL_INSTRUCTION_BYTES;
        r.regs[NUMBER] = call.number();
        r.regs[..arguments.len()].copy_from_slice(&arguments);
    }
}

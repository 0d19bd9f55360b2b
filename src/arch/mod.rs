//! Registers, system call numbers and the ABIs of a 64-bit kernel's tasks.
//!
//! Everything that depends on the processor is below here: one file per processor, with the same items in it. `Abi` is
//! the question that the rest asks.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "fsmasq runs on x86-64, and is written for aarch64; no other processor has its file in src/arch"
);

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

//! The requests that read and write all registers of a task: they differ between processors.

use super::{Result, Stopped};
use crate::arch::Registers;

#[cfg(target_arch = "x86_64")]
impl Stopped {
    pub fn registers(&self) -> Result<Registers> {
        // SAFETY: the struct is plain integers, for which all zeroes is a value.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: PTRACE_GETREGS writes one user_regs_struct to the data pointer.
        self.check("PTRACE_GETREGS", unsafe {
            libc::ptrace(libc::PTRACE_GETREGS, self.tid.0, 0, &raw mut registers)
        })?;
        Ok(Registers(registers))
    }

    /// The address of the task's next instruction alone.
    pub fn instruction(&self) -> Result<u64> {
        nix::Error::clear();
        let offset =
            std::mem::offset_of!(libc::user, regs) + std::mem::offset_of!(libc::user_regs_struct, rip);
        // SAFETY: reads a word of the task's registers; the C library hands it back as the result.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, self.tid.0, offset, 0) };
        self.check("PTRACE_PEEKUSER", if nix::Error::last_raw() == 0 { 0 } else { -1 })?;
        Ok(word.cast_unsigned())
    }

    pub fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        self.confirm()?;
        // SAFETY: PTRACE_SETREGS reads one user_regs_struct from the data pointer.
        self.check("PTRACE_SETREGS", unsafe {
            libc::ptrace(libc::PTRACE_SETREGS, self.tid.0, 0, &raw const registers.0)
        })
    }
}

#[cfg(target_arch = "aarch64")]
impl Stopped {
    pub fn registers(&self) -> Result<Registers> {
        // SAFETY: the struct is plain integers, for which all zeroes is a value.
        let mut general: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.set_of_registers(libc::PTRACE_GETREGSET, "PTRACE_GETREGSET", libc::NT_PRSTATUS, &mut general)?;
        Ok(Registers { general, skips_call: false })
    }

    pub fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        /// The number of the call that the task is about to make (linux/elf.h).
        const NT_ARM_SYSTEM_CALL: libc::c_int = 0x404;
        self.confirm()?;
        let mut general = registers.general;
        self.set_of_registers(libc::PTRACE_SETREGSET, "PTRACE_SETREGSET", libc::NT_PRSTATUS, &mut general)?;
        if registers.skips_call {
            let mut none = -1i32;
            let operation = "PTRACE_SETREGSET (number of the call)";
            self.set_of_registers(libc::PTRACE_SETREGSET, operation, NT_ARM_SYSTEM_CALL, &mut none)?;
        }
        Ok(())
    }

    /// Reads or writes a set of registers, from or to a struct that has its layout.
    fn set_of_registers<T>(
        &self,
        request: libc::c_uint,
        operation: &'static str,
        which: libc::c_int,
        values: &mut T,
    ) -> Result<()> {
        let mut place = libc::iovec { iov_base: (&raw mut *values).cast(), iov_len: size_of::<T>() };
        // SAFETY: the kernel reads or writes no more bytes than the iovec says, which are the struct's.
        self.check(operation, unsafe { libc::ptrace(request, self.tid.0, which, &raw mut place) })
    }
}

//! clone(2) and clone3(2) with CLONE_UNTRACED: the child would have the filter, but no tracer to answer it, and
//! get ENOSYS for every call that stops. So it is traced all the same.

use super::Environment;
use crate::arch::{Call, low32};
use crate::ptrace::{Result, Stopped};
use crate::tracer::{Outcome, Traced};
use std::rc::Rc;

/// `CLONE_UNTRACED` (linux/sched.h).
pub const UNTRACED: u32 = 0x0080_0000;

/// Where the flags are.
#[derive(Debug, Clone, Copy)]
enum Flags {
    Register,
    /// The first word of `struct clone_args`, at this address.
    Memory(u64),
}

/// A clone whose flags are to be changed.
#[derive(Debug)]
pub struct Request {
    place: Flags,
    flags: u64,
}

impl Request {
    /// None where the child is traced anyway.
    pub fn look(
        environment: &Environment,
        stopped: &Stopped,
        call: Call,
        arguments: [u64; 6],
    ) -> Result<Option<Request>> {
        let (place, flags) = match call {
            Call::Clone3 => {
                let mut bytes = [0; 8];
                // What can't be read, the kernel refuses as well.
                if environment.memory.read(stopped, arguments[0], &mut bytes).is_err() {
                    return Ok(None);
                }
                (Flags::Memory(arguments[0]), u64::from_ne_bytes(bytes))
            }
            _ => (Flags::Register, arguments[0]),
        };
        Ok((low32(flags) & UNTRACED != 0).then_some(Request { place, flags }))
    }
}

pub async fn handle(task: Traced, environment: Rc<Environment>, request: Request) -> Result<Outcome> {
    let set = |flags: u64| {
        task.with_stopped(|stopped| match request.place {
            Flags::Memory(address) => {
                environment.memory.write_read_only(stopped, address, &flags.to_ne_bytes())
            }
            Flags::Register => {
                let mut registers = stopped.registers()?;
                registers.set_first_argument(task.abi, flags);
                stopped.set_registers(&registers)
            }
        })
    };
    set(request.flags & !u64::from(UNTRACED))?;
    task.run_call().await?;
    set(request.flags)?;
    Ok(None)
}

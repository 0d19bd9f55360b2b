//! clone(2) with CLONE_UNTRACED: the child would have the filter, but no tracer to answer it, and get
//! ENOSYS for every call that stops. So it is traced all the same. (clone3's flags are in a struct,
//! which a filter can't see.)

use crate::ptrace::Result;
use crate::tracer::{Outcome, Traced};

/// `CLONE_UNTRACED` (linux/sched.h).
pub const UNTRACED: u32 = 0x0080_0000;

pub async fn handle(task: Traced) -> Result<Outcome> {
    let flags = task.arguments[0];
    if flags & u64::from(UNTRACED) == 0 {
        // With all stops, every clone comes by.
        return Ok(None);
    }
    with_flags(&task, flags & !u64::from(UNTRACED))?;
    task.run_call().await?;
    with_flags(&task, flags)?;
    Ok(None)
}

fn with_flags(task: &Traced, flags: u64) -> Result<()> {
    task.with_stopped(|stopped| {
        let mut registers = stopped.registers()?;
        registers.set_first_argument(task.abi, flags);
        stopped.set_registers(&registers)
    })
}

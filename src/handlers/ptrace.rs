//! Other tracers: strace, gdb, delve, crash handlers, container runtimes that stop a child at its exec. A task has
//! one tracer, so what another one asks for, and may have, is let go: from then on it sees file systems as they
//! are. What it may not have, it is refused by the kernel as natively.

use super::object::PIDFD_THREAD;
use super::{Environment, let_go, procfs};
use crate::arch::{Injected, int_argument, low32};
use crate::ptrace::{Result, Tid};
use crate::status::Status;
use crate::tracer::{Outcome, Traced};
use std::rc::Rc;

/// linux/ptrace.h.
const TRACEME: u32 = 0;
const ATTACH: u32 = 16;
const SEIZE: u32 = 0x4206;
/// The requests that make a tracer.
pub const BEGINNINGS: [u32; 3] = [TRACEME, ATTACH, SEIZE];
/// No task has a descriptor of this number.
const NO_DESCRIPTOR: u64 = 0x7FFF_FFFF;

/// Whether a ptrace(2) makes a tracer.
pub fn is_beginning(arguments: [u64; 6]) -> bool {
    BEGINNINGS.contains(&low32(arguments[0]))
}

pub async fn handle(task: Traced, environment: Rc<Environment>) -> Result<Outcome> {
    let refused = -i64::from(libc::EPERM);
    if task.run_call().await? != refused {
        return Ok(None);
    }
    if low32(task.arguments[0]) == TRACEME {
        if let_go::make_fit(&task, &environment).await? {
            // Without its tracer it makes the call again, and its parent is the one.
            task.let_go_and_call_again();
        }
        return Ok(None);
    }
    let Some(target) = target(&task).await? else { return Ok(None) };
    task.hand_over(target).await;
    Ok(Some(match task.inject(Injected::Ptrace, task.arguments).await? {
        Ok(value) => value.cast_signed(),
        Err(errno) => -i64::from(errno as i32),
    }))
}

/// The task that is to be traced, where it is one of ours and the kernel would allow it otherwise. The task itself
/// asks: ids are those of its pid namespace, and what it may trace is for the kernel to say.
async fn target(task: &Traced) -> Result<Option<Tid>> {
    let Some(pidfd) = open_pidfd(task).await? else { return Ok(None) };
    // pidfd_getfd(2) asks for the same right as an attach, before it looks for the descriptor.
    let answer = task.inject(Injected::PidfdGetfd, [pidfd, NO_DESCRIPTOR, 0, 0, 0, 0]).await?;
    let may_trace = answer == Err(nix::Error::EBADF);
    let target = if may_trace { procfs::task_of_pidfd(task.tid, int_argument(pidfd)) } else { None };
    let _ = task.inject(Injected::Close, [pidfd, 0, 0, 0, 0, 0]).await?;
    Ok(target.filter(|target| is_ours(*target) && !is_sibling(*target, task.tid)))
}

async fn open_pidfd(task: &Traced) -> Result<Option<u64>> {
    // The second one is for a thread that is not the leader.
    for flags in [0, u64::from(PIDFD_THREAD.cast_unsigned())] {
        let pid = u64::from(low32(task.arguments[1]));
        if let Ok(pidfd) = task.inject(Injected::PidfdOpen, [pid, flags, 0, 0, 0, 0]).await? {
            return Ok(Some(pidfd));
        }
    }
    Ok(None)
}

fn is_ours(tid: Tid) -> bool {
    Status::of(tid).and_then(|status| status.number("TracerPid")) == Some(std::process::id())
}

/// A thread of the same process can't be traced.
fn is_sibling(a: Tid, b: Tid) -> bool {
    let process = |tid| Status::of(tid).and_then(|status| status.number::<i32>("Tgid"));
    process(a) == process(b)
}

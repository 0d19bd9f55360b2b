//! Wait statuses, in a fair order.
//!
//! wait4(-1) answers with the first tracee of the kernel's list that has something to say, so a task
//! that stops all the time could keep the others waiting. Now and then everything that is there is
//! taken at once.

use crate::ptrace::Tid;
use std::collections::VecDeque;

/// A drain costs one more wait4, which walks all tracees: every so many events is often enough.
const EVENTS_PER_DRAIN: u32 = 16;
/// Statuses taken in one drain at the most.
const DRAINED: usize = 1024;

/// Reads statuses of all tracees, and of nobody else: the tracer has no children of its own.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<(Tid, i32)>,
    since_drain: u32,
}

impl Queue {
    /// The next status; None when no tracee is left.
    pub fn next(&mut self) -> Option<(Tid, i32)> {
        if let Some(status) = self.waiting.pop_front() {
            return Some(status);
        }
        let first = wait(0)?;
        self.since_drain += 1;
        if self.since_drain >= EVENTS_PER_DRAIN {
            self.since_drain = 0;
            while self.waiting.len() < DRAINED {
                let Some(status) = wait(libc::WNOHANG) else { break };
                self.waiting.push_back(status);
            }
        }
        Some(first)
    }
}

fn wait(flags: i32) -> Option<(Tid, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one int; no usage is asked for.
        match unsafe { libc::wait4(-1, &raw mut status, flags | libc::__WALL, std::ptr::null_mut()) } {
            -1 if nix::Error::last() == nix::Error::EINTR => {}
            -1 | 0 => return None,
            tid => return Some((Tid(tid), status)),
        }
    }
}

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

/// What wait4 said of one task.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub tid: Tid,
    pub status: i32,
    /// Whether it has waited here, so that the task may be elsewhere by now.
    pub drained: bool,
}

/// Reads statuses of all tracees, and of nobody else: the tracer has no children of its own.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Report>,
    since_drain: u32,
}

impl Queue {
    /// The next status; None when no tracee is left.
    pub fn next(&mut self) -> Option<Report> {
        if let Some(report) = self.waiting.pop_front() {
            return Some(report);
        }
        let first = wait(0)?;
        self.since_drain += 1;
        if self.since_drain >= EVENTS_PER_DRAIN {
            self.since_drain = 0;
            while self.waiting.len() < DRAINED {
                let Some(report) = wait(libc::WNOHANG) else { break };
                self.waiting.push_back(Report { drained: true, ..report });
            }
        }
        Some(first)
    }
}

fn wait(flags: i32) -> Option<Report> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one int; no usage is asked for.
        match unsafe { libc::wait4(-1, &raw mut status, flags | libc::__WALL, std::ptr::null_mut()) } {
            -1 if nix::Error::last() == nix::Error::EINTR => {}
            -1 | 0 => return None,
            tid => return Some(Report { tid: Tid(tid), status, drained: false }),
        }
    }
}

//! /proc/TID/status, line by line (proc_pid_status(5)).

use crate::ptrace::Tid;
use std::fs;

/// What the kernel says of a task.
#[derive(Debug)]
pub struct Status(pub(crate) String);

impl Status {
    /// Of a task, by the tracer's working folder, which is /proc; None where it is gone.
    pub fn of(tid: Tid) -> Option<Status> {
        fs::read_to_string(format!("{tid}/status")).ok().map(Status)
    }

    /// Of this process; for use before the tracer's folder is /proc.
    pub fn of_self() -> Option<Status> {
        fs::read_to_string("/proc/self/status").ok().map(Status)
    }

    #[cfg(test)]
    pub fn from_text(text: &str) -> Status {
        Status(text.to_owned())
    }

    /// What stands behind `NAME:`; None where the kernel doesn't say it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

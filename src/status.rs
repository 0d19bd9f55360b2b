//! /proc/TID/status, line by line (proc_pid_status(5)).

use crate::ptrace::Tid;
use std::fs;
use std::str::FromStr;

/// What the kernel says of a task.
#[derive(Debug)]
pub struct Status(pub(crate) String);

impl Status {
    /// Of a task, by the tracer's working folder, which is /proc; None where it is gone.
    pub fn of(tid: Tid) -> Option<Status> {
        fs::read(format!("{tid}/status")).ok().map(|bytes| Status::from_bytes(&bytes))
    }

    /// Of this process; for use before the tracer's folder is /proc.
    pub fn of_self() -> Option<Status> {
        fs::read("/proc/self/status").ok().map(|bytes| Status::from_bytes(&bytes))
    }

    /// A program's name may have any bytes in it; all else is ASCII.
    fn from_bytes(bytes: &[u8]) -> Status {
        Status(String::from_utf8_lossy(bytes).into_owned())
    }

    #[cfg(test)]
    pub fn from_text(text: &str) -> Status {
        Status(text.to_owned())
    }

    /// The same as a number.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.field(name)?.parse().ok()
    }

    /// What stands behind `NAME:`; None where the kernel doesn't say it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_utf8_hides_nothing() {
        let status = Status::from_bytes(b"Name:\tna\xefme\xff\nTgid:\t17\nSeccomp_filters:\t2\n");
        assert_eq!((status.field("Tgid"), status.field("Seccomp_filters")), (Some("17"), Some("2")));
    }
}

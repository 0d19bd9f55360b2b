//! What the tracer of this process uses, as /proc tells.

use std::fs;
use std::str::FromStr;
use std::time::Duration;

pub struct Tracer {
    pid: u32,
}

impl Tracer {
    /// None where nobody traces, or in a PID namespace that the tracer is not in.
    pub fn of_this_process() -> Option<Self> {
        let pid: u32 = field(&fs::read_to_string("/proc/self/status").ok()?, "TracerPid:")?;
        (pid > 0).then_some(Tracer { pid })
    }

    /// Time on a CPU so far: exact from schedstat (Linux, Documentation/scheduler/sched-stats.rst).
    pub fn cpu_time(&self) -> Option<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).ok()?;
        let nanoseconds: u64 = text.split_ascii_whitespace().next()?.parse().ok()?;
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    pub fn resident_kib(&self) -> Option<f64> {
        field(&fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?, "VmRSS:")
    }
}

/// The number behind `name` in a status file.
fn field<T: FromStr>(status: &str, name: &str) -> Option<T> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

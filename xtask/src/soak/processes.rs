//! What /proc says of the tracer and of its tree.

use anyhow::{Context, Result};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// One look at a tracer and its tree.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// KiB.
    pub resident: u64,
    /// KiB.
    pub peak: u64,
    pub descriptors: usize,
    /// Seconds, since the start.
    pub cpu: f64,
    /// Of the tree, without zombies.
    pub processes: usize,
    pub tasks: usize,
    pub zombies: usize,
}

/// Clock ticks a second in /proc/PID/stat: 100 on all machines that this runs on (man 5 proc, man 2 sysconf).
const TICKS: f64 = 100.0;

pub fn tracer_of(pid: u32) -> Option<u32> {
    let tracer = field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "TracerPid:")?;
    u32::try_from(tracer).ok().filter(|tracer| *tracer > 0)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Sample {
    pub fn of(tracer: u32) -> Result<Sample> {
        let gone = || format!("the tracer (process {tracer}) is gone");
        let status = fs::read_to_string(format!("/proc/{tracer}/status")).with_context(gone)?;
        let stat = fs::read_to_string(format!("/proc/{tracer}/stat")).with_context(gone)?;
        let (processes, tasks, zombies) = tree(tracer);
        Ok(Sample {
            resident: field(&status, "VmRSS:").unwrap_or(0),
            peak: field(&status, "VmHWM:").unwrap_or(0),
            descriptors: fs::read_dir(format!("/proc/{tracer}/fd")).with_context(gone)?.count(),
            cpu: cpu(&stat),
            processes,
            tasks,
            zombies,
        })
    }
}

/// User and system time; the name, in brackets, may have blanks.
fn cpu(stat: &str) -> f64 {
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0.0 };
    let ticks: f64 = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / TICKS
}

/// Processes, tasks and zombies that a tracer traces.
fn tree(tracer: u32) -> (usize, usize, usize) {
    let (mut processes, mut tasks, mut zombies) = (0, 0, 0);
    let Ok(folder) = fs::read_dir("/proc") else { return (0, 0, 0) };
    for entry in folder.flatten() {
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        if field(&status, "TracerPid:") != Some(tracer.into()) {
            continue;
        }
        if status.lines().any(|line| line.starts_with("State:\tZ") || line.starts_with("State:\tX")) {
            zombies += 1;
            continue;
        }
        processes += 1;
        tasks += usize::try_from(field(&status, "Threads:").unwrap_or(0)).unwrap_or(0);
    }
    (processes, tasks, zombies)
}

/// Waits for a process that is nobody's child here.
pub fn has_ended(pid: u32, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while fs::exists(format!("/proc/{pid}")).unwrap_or(false) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_times() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0";
        assert!((cpu(stat) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(field("Name:\tx\nTracerPid:\t12\nVmRSS:\t  34 kB\n", "VmRSS:"), Some(34));
    }
}

//! What a run's numbers belong to.

use super::competitors::output;
use crate::tools::repository;
use std::fs;
use std::process::Command;

/// Tasks that want a CPU, over the last minute (proc_loadavg(5)).
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// One line about the machine, the competitors' versions, the date.
pub fn describe() -> String {
    let said = |program: &str, words: &[&str]| {
        output(Command::new(program).args(words).current_dir(repository())).unwrap_or_default()
    };
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let hypervisor = if processors.contains(" hypervisor ") { ", a virtual machine" } else { "" };
    let strace = said("strace", &["-V"]);
    let strace = strace.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or("?");
    let proot = said("proot", &["-V"]);
    let proot = proot.split_whitespace().map(|word| word.trim_start_matches(['|', '_', '/', '\\']));
    let proot = proot.into_iter().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("?");
    format!(
        "{}, {cpus} CPUs{hypervisor}, Linux {}, load {:.1} at the start; fsmasq {}, strace {strace}, proot {proot}; {}.",
        processor.map_or("unknown processor", |(_, name)| name),
        kernel.trim(),
        load(),
        said("git", &["rev-parse", "--short", "HEAD"]).trim(),
        said("date", &["--utc", "+%Y-%m-%d"]).trim(),
    )
}

//! What the node's log says.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use anyhow::{Context, Result};

use super::bundle::Bundle;
use super::report::Row;
use crate::tools::last_lines;

/// The log from a position on; bytes that are not UTF-8 are replaced.
pub fn read_from(bundle: &Bundle, position: u64) -> Result<String> {
    let path = bundle.node_log();
    let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    file.seek(SeekFrom::Start(position))?;
    let mut content = Vec::new();
    file.read_to_end(&mut content).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// The end of the log, for a message; an unreadable log is said, too.
pub fn tail(bundle: &Bundle, lines: usize) -> String {
    read_from(bundle, 0).map_or_else(|error| format!("{error:#}"), |text| last_lines(&text, lines))
}

/// What the kubelet dies of in a sandbox, in its own words (see the project's README).
const FATAL: &[&str] = &[
    "Failed to start ContainerManager",
    "failed to run Kubelet",
    "command failed",
    "kubelet ended by itself",
    "could not find device in cached partitions map",
    "unable to find data in memory cache",
];

/// The fatal lines, without those that only repeat one.
pub fn fatal_lines(bundle: &Bundle) -> Result<Vec<String>> {
    Ok(fatal_lines_of(&read_from(bundle, 0)?))
}

fn fatal_lines_of(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| is_error(line) || line.starts_with("node: "))
        .filter(|line| FATAL.iter().any(|words| line.contains(words)))
        .map(str::to_owned)
        .collect()
}

/// Source files of cAdvisor's that klog names in its errors, and words of its other messages, and of the kubelet's
/// about figures that cAdvisor owes it; in lower case.
const CADVISOR: &[&str] = &[
    " fshandler.go:",
    " info.go:",
    " machine.go:",
    " oomparser.go:",
    " sysfs.go:",
    " watcher.go:",
    "cadvisor",
    "container stats",
    "could not get machine info",
    "failed to create existing container",
    "failed to destroy existing container",
    "failed to detect containers",
    "fsstats",
    "getspec:",
    "imagefs info",
    "imagefs stats",
    "partition",
    "rootfs",
    "unable to find data in memory cache",
];

/// What is said of things that gVisor does not have and that no figure in use depends on, or at a start.
struct Known {
    words: &'static str,
    what: &'static str,
    /// More of them about one and the same cgroup are errors.
    at_most: usize,
}

const KNOWN: &[Known] = &[
    Known { words: "failed to get network devices", what: "no /sys/class/net", at_most: usize::MAX },
    Known { words: "oom events will not be reported", what: "no kernel log", at_most: usize::MAX },
    // A cgroup that has just been made has no sample yet; on any machine, once for each that asks at this moment. For a
    // container whose figures can't be read it would be said again and again.
    Known {
        words: "partial failure issuing cadvisor.containerinfov2",
        what: "a first sample came late",
        at_most: 3,
    },
    // The same, said by the summary of the kubelet's own cgroup, with a sample or the cgroup itself still missing.
    Known {
        words: "recentstats: unable to find data in memory cache",
        what: "a first sample came late",
        at_most: 2,
    },
    Known { words: "unknown container", what: "a new cgroup was seen late", at_most: 2 },
    // The runtime's word that nothing runs there any more, as of one that crashes at once; on any machine.
    Known { words: ": task ", what: "a container had ended when it was looked at", at_most: usize::MAX },
];

/// The check that the log has no error of cAdvisor's but the known ones, which are told.
pub fn cadvisor_row(name: &str, bundle: &Bundle) -> Result<Row> {
    let log = read_from(bundle, 0)?;
    let (errors, known) = cadvisor_errors(&log);
    Ok(match errors.first() {
        Some(first) => Row::failed_with(name, format!("{} error(s), the first: {first}", errors.len())),
        None => {
            let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            let seen = format!("none in {} lines; expected: {known}", log.lines().count());
            Row::passed(name, seen, Duration::ZERO)
        }
    })
}

/// The errors, and what of the known was seen.
fn cadvisor_errors(log: &str) -> (Vec<&str>, Vec<&'static str>) {
    let mut errors = Vec::new();
    let mut counts = HashMap::new();
    let mut seen = Vec::new();
    for line in log.lines().filter(|line| is_error(line)) {
        let lower = line.to_lowercase();
        if !CADVISOR.iter().any(|words| lower.contains(words)) {
            continue;
        }
        let Some(known) = KNOWN.iter().find(|known| lower.contains(known.words)) else {
            errors.push(line);
            continue;
        };
        let mut too_many = false;
        for cgroup in cgroups(line) {
            let count = counts.entry((known.words, cgroup)).or_insert(0);
            *count += 1;
            too_many |= *count > known.at_most;
        }
        if too_many {
            errors.push(line);
        } else if !seen.contains(&known.what) {
            seen.push(known.what);
        }
    }
    (errors, seen)
}

/// The absolute paths in quotation marks, which klog escapes in a line's values; "" for a line that has none.
fn cgroups(line: &str) -> Vec<&str> {
    let names = line.split('"').map(|part| part.trim_end_matches('\\')).filter(|part| part.starts_with('/'));
    let names: Vec<&str> = names.collect();
    if names.is_empty() { vec![""] } else { names }
}

/// klog's lines begin with a letter for the severity and the date, as in `E1122 19:10:19.276463`.
fn is_error(line: &str) -> bool {
    let mut bytes = line.bytes();
    matches!(bytes.next(), Some(b'E' | b'F')) && bytes.take(4).filter(u8::is_ascii_digit).count() == 4
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEATH: &str = "E1122 19:10:19.2 11 kubelet.go:1] \"Failed to start ContainerManager\" err=\"x\"";

    #[test]
    fn a_fatal_line_is_found_among_others() {
        let log = format!("I1122 19:10:19.1 11 a.go:1] Starting\n{DEATH}\nsomething else");
        assert_eq!(fatal_lines_of(&log), [DEATH]);
        assert!(fatal_lines_of("I1122 19:10:19.1 11 a.go:1] command failed gracefully").is_empty());
    }

    #[test]
    fn errors_of_cadvisor_are_told_from_others() {
        let figures =
            "E1122 19:10:19.2 11 cri_stats_provider.go:1] could not find device in cached partitions map";
        let machine = "E1122 19:10:19.2 11 info.go:119] Failed to get system UUID: no such file or directory";
        let known = "E1122 19:10:19.2 11 info.go:109] Failed to get network devices: open /sys/class/net";
        let warning = "W1122 19:10:19.2 11 fs.go:502] Not collecting partition statistics";
        let other = "E1122 19:10:19.2 11 conn.go:1] Error on socket receive";
        let log = [figures, machine, known, known, warning, other].join("\n");
        assert_eq!(cadvisor_errors(&log), (vec![figures, machine], vec!["no /sys/class/net"]));
    }

    #[test]
    fn a_late_sample_is_expected_at_a_start_and_an_error_when_it_goes_on() {
        let late = "E1122 19:48:46.6 11 cadvisor_stats_provider.go:567] \"Partial failure issuing cadvisor.ContainerInfoV2\"";
        assert!(cadvisor_errors(&[late; 3].join("\n")).0.is_empty());
        assert_eq!(cadvisor_errors(&[late; 4].join("\n")).0, [late]);
    }
    #[test]
    fn a_late_sample_is_counted_for_each_container() {
        let late = |pod| {
            let start = "E1122 19:48:46.6 11 cadvisor_stats_provider.go:567]";
            format!(
                r#"{start} "Partial failure issuing cadvisor.ContainerInfoV2" err="[\"/kubepods/{pod}\": RecentStats]""#
            )
        };
        let others: Vec<String> = (0..9).map(late).collect();
        assert!(cadvisor_errors(&others.join("\n")).0.is_empty());
        assert_eq!(cadvisor_errors(&[late(1), late(1), late(1), late(1)].join("\n")).0, [late(1)]);
    }
}

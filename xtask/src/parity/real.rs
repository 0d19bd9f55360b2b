//! Real programs and the suites of others' readers: mount tables, everyday tools, language runtimes, build tools, shells,
//! containers. What has no suite of its own is driven by the scripts of tests/parity.

mod builds;
mod containers;
mod runtimes;
mod shells;
mod table_readers;
mod tools;

use std::path::PathBuf;

use super::explained::Explained;
use super::suite::{Finished, Outcome, Suite, Verdict, Verdicts};
use crate::tools::repository;

pub const EXPLAINED: &[Explained] = &[
    Explained {
        suite: "system-tools",
        test: "tools: cp /proc/self/mounts copied",
        place: None,
        why: "cp compares what stat says of the path with what fstat says of the descriptor, which is a memfd",
    },
    Explained {
        suite: "system-tools",
        test: "tools: cmp /proc/self/mounts copied",
        place: None,
        why: "cp copied nothing",
    },
];

pub fn suites() -> Vec<Suite> {
    let mut all = vec![table_readers::SUITE];
    all.extend(tools::SUITES);
    all.extend(runtimes::SUITES);
    all.extend(builds::SUITES);
    all.extend(shells::SUITES);
    all.extend(containers::SUITES);
    all
}

/// A script or program of tests/parity.
fn script(path: &str) -> PathBuf {
    repository().join("tests/parity").join(path)
}

/// Scripts write `== NAME` before each of their tests; what follows has to be the same in both runs.
fn sections(finished: &Finished) -> Verdicts {
    let mut verdicts = Verdicts::new();
    // Beside its own folder lie those for temporary files and the home.
    let run = finished.folder.parent().unwrap_or(&finished.folder);
    let text = steady(&finished.stdout.replace(&run.display().to_string(), "FOLDER"));
    for section in format!("\n{text}").split("\n== ").skip(1) {
        let (name, said) = section.split_once('\n').unwrap_or((section, ""));
        let mut verdict = Verdict::new(Outcome::Passed);
        verdict.said = Some(said.trim_end().to_owned());
        verdicts.insert(name.to_owned(), verdict);
    }
    let mut end = Verdict::new(match finished.status {
        Some(_) => Outcome::Passed,
        None => Outcome::Hung,
    });
    end.said = finished.status.map(|status| status.to_string());
    end.detail = super::readers::last_lines(&finished.stderr, 12);
    verdicts.insert("the end".to_owned(), end);
    verdicts
}

/// Without what differs from run to run, or is meant to differ: ids (numbers of four digits and more), and file systems'
/// types, by name and by magic.
fn steady(text: &str) -> String {
    const TYPES: [&str; 10] =
        ["ext4", "xfs", "tmpfs", "9p", "v9fs", "ext2/ext3", "ef53", "58465342", "1021994", "1021997"];
    let mut steady = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '/') {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '/');
        let rest = &part[word.len()..];
        let is_id = word.len() > 3 && word.bytes().all(|b| b.is_ascii_digit());
        steady.push_str(match word {
            word if TYPES.contains(&word) => "TYPE",
            _ if is_id => "ID",
            word => word,
        });
        steady.push_str(rest);
    }
    steady
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_ids_are_taken_out_and_nothing_else() {
        assert_eq!(steady("tmpfs /dev/x ext4 (rw) 12345 42\n"), "TYPE /dev/x TYPE (rw) ID 42\n");
        assert_eq!(steady("a9p 9p,ext2/ext3"), "a9p TYPE,TYPE");
    }
}

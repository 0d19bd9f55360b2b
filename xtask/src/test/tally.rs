//! Counts of tests.

use std::fmt;
use std::ops::AddAssign;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl Tally {
    /// The counts in a result line: `3 passed, 0 failed, 1 skipped`, or libtest's `test result: ok. 3 passed; …`.
    pub fn of_line(line: &str) -> Option<Tally> {
        let line = line.trim();
        let counts = match line.strip_prefix("test result: ") {
            Some(rest) => rest.split_once(". ")?.1,
            None => line,
        };
        let mut tally = Tally::default();
        let mut seen = 0;
        for part in counts.split([',', ';']) {
            let Some((count, what)) = part.trim().split_once(' ') else { continue };
            let Ok(count) = count.parse::<u32>() else {
                // A sentence that has such words in it.
                if seen == 0 {
                    return None;
                }
                continue;
            };
            match what {
                "passed" => tally.passed = count,
                "failed" => tally.failed = count,
                "skipped" | "ignored" => tally.skipped = count,
                _ => continue,
            }
            seen += 1;
        }
        (seen >= 2).then_some(tally)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_of_every_suite_are_read() {
        let tally = |passed, failed, skipped| Some(Tally { passed, failed, skipped });
        let libtest =
            "test result: ok. 38 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.71s";
        assert_eq!(Tally::of_line(libtest), tally(38, 1, 2));
        assert_eq!(Tally::of_line("282 passed, 7 failed, 5 skipped\n"), tally(282, 7, 5));
        assert_eq!(Tally::of_line("12 passed, 0 failed"), tally(12, 0, 0));
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["", "ok: a test that passed, 3 failed", "running 3 tests", "3 passed", "test x ... ok"] {
            assert_eq!(Tally::of_line(line), None, "{line}");
        }
    }

    #[test]
    fn a_tally_reads_what_it_writes() {
        let tally = Tally { passed: 1, failed: 2, skipped: 3 };
        assert_eq!(Tally::of_line(&tally.to_string()), Some(tally));
    }
}

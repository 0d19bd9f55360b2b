//! Results, and how they are shown.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Result, bail};

pub struct Row {
    pub name: String,
    pub passed: bool,
    /// What was seen, or the error.
    pub value: String,
    pub time: Duration,
}

impl Row {
    pub fn passed(name: &str, value: String, time: Duration) -> Self {
        Self { name: name.to_owned(), passed: true, value, time }
    }

    pub fn failed(name: &str, error: &anyhow::Error) -> Self {
        Self::failed_with(name, format!("{error:#}"))
    }

    pub fn failed_with(name: &str, value: String) -> Self {
        Self { name: name.to_owned(), passed: false, value, time: Duration::ZERO }
    }

    fn mark(&self) -> &'static str {
        if self.passed { "ok" } else { "FAILED" }
    }
}

/// All rows of one setup.
pub struct Report {
    title: String,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(title: String) -> Self {
        Self { title, rows: Vec::new() }
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn all_passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed)
    }

    pub fn counts(&self) -> (usize, usize) {
        let passed = self.rows.iter().filter(|row| row.passed).count();
        (passed, self.rows.len() - passed)
    }

    /// A table, with what was seen in full where a check failed.
    pub fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut text = format!("\n{}\n", self.title);
        for row in &self.rows {
            let seen = row.value.trim().replace('\n', &format!("\n{:indent$}", "", indent = width + 22));
            let seconds = row.time.as_secs_f64();
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {:width$}  {:6}  {seconds:6.1} s  {seen}", row.name, row.mark());
        }
        text
    }

    /// One line a check, each complete in itself.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let _ = writeln!(
                text,
                "{:6} cluster: {}: {}: {}",
                row.mark(),
                self.title,
                row.name,
                row.value.trim().replace('\n', "\n         ")
            );
        }
        text
    }

    pub fn tally(&self) -> String {
        tally(self.counts())
    }

    pub fn into_result(self) -> Result<()> {
        fail_unless_none(self.counts().1)
    }
}

pub fn tally((passed, failed): (usize, usize)) -> String {
    format!("{passed} passed, {failed} failed")
}

pub fn fail_unless_none(failed: usize) -> Result<()> {
    if failed > 0 {
        bail!("{failed} check(s) of the cluster failed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_row_is_counted_and_makes_the_result_an_error() {
        let mut report = Report::new("setup".into());
        report.push(Row::passed("one", "seen".into(), Duration::from_secs(1)));
        report.push(Row::failed_with("two", "first\nsecond".into()));
        assert_eq!(report.tally(), "1 passed, 1 failed");
        assert!(report.table().contains("FAILED"));
        assert!(report.lines().lines().any(|line| line.starts_with("FAILED cluster: setup: two: first")));
        assert!(report.into_result().is_err());
    }
}

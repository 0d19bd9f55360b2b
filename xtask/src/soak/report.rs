//! What a soak found: rows while it runs, a page at the end.

use super::processes::Sample;
use super::{SLACK_KIBIBYTES, THREADS_KIBIBYTES};
use crate::bench::machine;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;
use std::time::Duration;

/// One worker's account.
#[derive(Debug, Default, Clone, serde::Serialize, serde::Deserialize)]
pub struct Count {
    pub started: u64,
    pub ended: u64,
    /// What went wrong, the first of them with their text.
    pub wrong: u64,
    pub texts: Vec<String>,
    /// Why it never ran.
    pub missing: Option<String>,
}

/// The driver's account, by worker.
pub type Counts = BTreeMap<String, Count>;

/// A sample, and when it was taken.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    pub at: Duration,
    pub sample: Sample,
}

impl Row {
    pub fn take(what: &str, at: Duration, tracer: u32) -> Result<Row> {
        Ok(Row { what: what.to_owned(), at, sample: Sample::of(tracer)? })
    }

    fn cells(&self) -> String {
        let Sample { resident, peak, descriptors, cpu, processes, tasks, zombies } = self.sample;
        let (minutes, seconds) = (self.at.as_secs() / 60, self.at.as_secs() % 60);
        format!(
            "{minutes:>3}:{seconds:02} | {:<22} | {resident:>8} | {peak:>8} | {descriptors:>3} | {cpu:>8.1} | \
             {processes:>4} | {tasks:>5} | {zombies:>3}",
            self.what
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { resident, peak, descriptors, cpu, processes, tasks, zombies } = self.sample;
        write!(
            f,
            "{:>3} min {:02} s, {}: tracer {resident} KiB (peak {peak}), {descriptors} descriptors, {cpu:.1} s of CPU; \
             {processes} processes, {tasks} tasks, {zombies} zombies",
            self.at.as_secs() / 60,
            self.at.as_secs() % 60,
            self.what
        )
    }
}

/// All that there is to say.
pub struct Outcome {
    minutes: u32,
    machine: String,
    pub tracer: u32,
    pub rows: Vec<Row>,
    pub counts: Counts,
    summary: String,
    problems: Vec<String>,
}

impl Outcome {
    pub fn new(minutes: u32) -> Outcome {
        let (tracer, rows, counts) = (0, Vec::new(), Counts::new());
        Outcome {
            minutes,
            machine: machine::describe(),
            tracer,
            rows,
            counts,
            summary: String::new(),
            problems: vec![],
        }
    }

    pub fn time(&self) -> Duration {
        Duration::from_secs(u64::from(self.minutes) * 60)
    }

    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// What the tracer said: its summary, and warnings, of which there should be none.
    pub fn log(&mut self, text: &str) {
        self.summary =
            text.lines().filter(|line| line.starts_with("fsmasq: ")).collect::<Vec<_>>().join("\n");
        let said: Vec<&str> = text.lines().filter(|l| l.contains(" WARN ") || l.contains("ERROR ")).collect();
        if !said.is_empty() {
            let first: Vec<&str> = said.iter().take(5).copied().collect();
            self.problem(format!("{} warnings of the tracer: {}", said.len(), first.join("; ")));
        }
        if self.summary.is_empty() {
            self.problem("the tracer gave no summary".into());
        }
    }

    /// Everything that is not as it has to be.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        if self.counts.is_empty() {
            problems.push("the driver gave no account".into());
        }
        for (name, count) in &self.counts {
            if count.wrong > 0 {
                problems.push(format!(
                    "{name}: {} wrong of {}: {}",
                    count.wrong,
                    count.started,
                    count.texts.join("; ")
                ));
            }
            if count.started != count.ended {
                problems.push(format!("{name}: {} started, {} ended", count.started, count.ended));
            }
            if count.started == 0 && count.missing.is_none() {
                problems.push(format!("{name}: never ran"));
            }
        }
        problems
    }

    pub fn text(&self) -> String {
        let mut text = String::from(
            "| time | | resident KiB | peak KiB | descriptors | CPU s | processes | tasks | zombies |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.cells());
        }
        text.push_str("\n| worker | runs | ended | wrong |\n|---|---|---|---|\n");
        for (name, count) in &self.counts {
            let _ = match &count.missing {
                Some(what) => writeln!(text, "| {name} | left out: needs {what} | | |"),
                None => writeln!(text, "| {name} | {} | {} | {} |", count.started, count.ended, count.wrong),
            };
        }
        let sum = |of: fn(&Count) -> u64| self.counts.values().map(of).sum::<u64>();
        let (started, ended, wrong) = (sum(|c| c.started), sum(|c| c.ended), sum(|c| c.wrong));
        let _ = writeln!(text, "| all | {started} | {ended} | {wrong} |\n\n{}\n", self.summary);
        let problems = self.problems();
        if problems.is_empty() {
            text.push_str("No problem was found.\n");
        }
        for problem in problems {
            let _ = writeln!(text, "- PROBLEM: {problem}");
        }
        text
    }

    pub fn page(&self) -> String {
        format!(
            "# Soak\n\n\
             `cargo xtask soak --minutes N` runs below one prefix, all at once: shells with pipelines, storms of forks, \
             programs and threads, tables and statfs by many threads, signals, kills at random moments, processes that \
             stop and continue each other, namespaces, survivors, and Go, Python, Node and Java programs. Every run of a \
             worker checks its answers; a wrong one is a problem, as is a run that doesn't end, a zombie, a warning of the \
             tracer, or a tracer that goes on at the end.\n\n\
             Now and then everything pauses (`quiet`), and what the tracer then keeps is compared: the same descriptors, \
             and at the end at most {} MiB more memory than after the warm-up, for what the allocator keeps. Beside 5,000 \
             live threads its peak is at most {} MiB.\n\n\
             ## The last run\n\n{} minutes. {}\n\n{}",
            SLACK_KIBIBYTES >> 10,
            THREADS_KIBIBYTES >> 10,
            self.minutes,
            self.machine,
            self.text()
        )
    }
}

//! The table: on the terminal, and in docs/parity.md.

use std::fmt::Write;
use std::time::Duration;

use super::compare::{Difference, Outcomes};
use super::explained;
use super::suite::{Place, Verdict};
use crate::bench::report as page;
use crate::tools::repository;
use anyhow::{Context, Result};

pub const HEAD: &str = "| suite | tests | passed bare | passed below | differences | unsteady | stops | rewritten | time bare | below |\n\
     |---|--:|--:|--:|---|--:|--:|--:|--:|--:|\n";

/// One suite's row.
pub fn row(name: &str, outcomes: &Outcomes) -> String {
    let differences = match (outcomes.differences.len(), outcomes.explained.len()) {
        (0, 0) => "none".to_owned(),
        (0, explained) => format!("{explained}, explained"),
        (open, 0) => format!("**{open}**"),
        (open, explained) => format!("**{open}**, and {explained} explained"),
    };
    format!(
        "| {name} | {} | {} | {} | {differences} | {} | {} | {} | {} | {} |",
        outcomes.tests,
        outcomes.passed_bare,
        outcomes.passed_below,
        outcomes.unsteady.len(),
        outcomes.stops,
        outcomes.rewritten,
        seconds(outcomes.took_bare),
        seconds(outcomes.took_below),
    )
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

/// A suite that can't be run here.
pub fn missing_row(name: &str, why: &str) -> String {
    let why = why.lines().next().unwrap_or("").replace('|', "/");
    format!("| {name} | not run: {why} | | | | | | | | |")
}

/// What a suite came to, beyond its row.
pub fn tell(suite: &str, outcomes: &Outcomes) {
    for difference in &outcomes.differences {
        println!("DIFFERENT: {suite}: {}", told(difference));
        for (way, verdict) in [("bare", &difference.bare), ("below", &difference.below)] {
            if let Some(verdict) = verdict {
                indented(way, &verdict.detail);
                indented(way, verdict.said.as_deref().unwrap_or(""));
            }
        }
    }
    for (difference, why) in &outcomes.explained {
        println!("explained: {suite}: {}: {why}", told(difference));
    }
    for test in &outcomes.unsteady {
        println!("unsteady: {suite}: {test}");
    }
}

fn told(difference: &Difference) -> String {
    let word = |verdict: &Option<Verdict>| match verdict {
        Some(verdict) => format!("{:?}", verdict.outcome).to_lowercase(),
        None => "not there".to_owned(),
    };
    format!("{}: bare {}, below {}", difference.test, word(&difference.bare), word(&difference.below))
}

fn indented(way: &str, text: &str) {
    for line in text.lines() {
        println!("    {way}| {line}");
    }
}

/// Explanations whose difference did not come up: perhaps it is mended.
pub fn tell_unseen(suite: &str, place: Place, outcomes: &Outcomes) {
    for explained in explained::all().filter(|explained| explained.is_of(suite, place)) {
        let seen = outcomes.explained.iter().any(|(difference, _)| explained.is_about(&difference.test));
        if !seen {
            println!("explained, not seen: {suite}: {}", explained.test);
        }
    }
}

/// Puts the rows into the document; those of suites that were not run stay.
pub fn write(place: Place, about: &str, names: &[&str], rows: &[(String, String)]) -> Result<()> {
    let path = repository().join("docs/parity.md");
    let section = section(place);
    let old = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let old = between(&old, section).to_owned();
    let mut text = format!("{about}\n\n{HEAD}");
    for name in names {
        let new = rows.iter().find(|(suite, _)| suite == name).map(|(_, row)| row.as_str());
        let kept = [format!("| {name} |"), format!("| {name} (short) |")]
            .iter()
            .find_map(|start| old.lines().find(|line| line.starts_with(start)));
        if let Some(row) = new.or(kept) {
            let _ = writeln!(text, "{row}");
        }
    }
    page::write(&path, section, &text)?;
    page::write(&path, "explained", &explanations())
}

/// What stands between the markers of a part.
fn between<'a>(page: &'a str, name: &str) -> &'a str {
    let rest = page.split_once(&format!("<!-- begin {name} -->")).map_or("", |(_, rest)| rest);
    rest.split_once(&format!("<!-- end {name} -->")).map_or("", |(text, _)| text)
}

fn section(place: Place) -> &'static str {
    match place {
        Place::Linux => "linux",
        Place::Gvisor => "gvisor",
    }
}

fn explanations() -> String {
    let mut text = String::from("| suite | test | why |\n|---|---|---|\n");
    let mut none = true;
    for explained in explained::all() {
        let place = explained.place.map(|place| format!(" ({})", section(place))).unwrap_or_default();
        let _ = writeln!(text, "| {}{place} | `{}` | {} |", explained.suite, explained.test, explained.why);
        none = false;
    }
    if none { "None.\n".to_owned() } else { text }
}

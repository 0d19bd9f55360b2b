//! What was found, as a table or as JSON; and what follows from it.

use super::command;
use super::finding::{Area, Finding, Remedy, Shown, Verdict};
use clap::ValueEnum;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Exit status where something must be done first.
const NOT_YET: u8 = 1;
const WIDTH: usize = 100;
/// Of the verdict, and of what was looked at.
const VERDICT_WIDTH: usize = 6;
const WHAT_WIDTH: usize = 25;

/// Everything that was found.
#[derive(Debug)]
pub struct Report {
    findings: Vec<Finding>,
    /// The options that were given, and would be again.
    options: Vec<String>,
    /// Whether anything is fsmasq's business here.
    is_needed: bool,
}

impl Report {
    pub fn new(options: Vec<String>, findings: Vec<Finding>) -> Report {
        let is_needed = findings.iter().any(|finding| {
            // Where fsmasq can't work, or is above already, the rest says less than it should.
            let hides = finding.area == Area::Prefix && finding.verdict.remedy().is_some();
            finding.verdict == Verdict::Fsmasq || hides
        });
        Report { findings, options, is_needed }
    }

    /// 0 where a node can run (below fsmasq), 1 where something must be done first.
    pub fn exit_code(&self) -> u8 {
        if self.can_run() { 0 } else { NOT_YET }
    }

    fn can_run(&self) -> bool {
        self.remedies().all(|remedy| !remedy.blocks())
    }

    fn remedies(&self) -> impl Iterator<Item = &Remedy> {
        self.findings.iter().filter_map(|finding| finding.verdict.remedy())
    }

    pub fn render(&self, format: Format, colours: bool) -> String {
        match format {
            Format::Table => self.table(colours),
            Format::Json => self.json(),
        }
    }

    fn command(&self) -> Vec<String> {
        command::starting_a_node(&self.options, self.is_needed, self.remedies())
    }

    fn conclusion(&self) -> String {
        let first = self.remedies().filter(|remedy| matches!(remedy, Remedy::First(_)));
        let first = first.map(Remedy::line).collect::<BTreeSet<_>>().len();
        match (self.can_run(), first) {
            (true, _) if self.command()[0] == "fsmasq" => "A node can run:".into(),
            (true, _) => "A node can run, and needs no fsmasq:".into(),
            (false, 0) => "With these options a node can't run; with these it can:".into(),
            (false, 1) => "One thing must be done first (see `to do` above); then:".into(),
            (false, count) => format!("{count} things must be done first (see `to do` above); then:"),
        }
    }

    fn json(&self) -> String {
        let command = self.command();
        let value = json!({
            "can_run": self.can_run(),
            "conclusion": self.conclusion().trim_end_matches(':'),
            "command": command.join(" "),
            "findings": self.findings.iter().map(Shown).collect::<Vec<_>>(),
        });
        format!("{value:#}\n")
    }

    fn table(&self, colours: bool) -> String {
        let mut text = String::new();
        let mut area: Option<Area> = None;
        let mut before: Option<&Remedy> = None;
        for finding in &self.findings {
            if area.replace(finding.area) != Some(finding.area) {
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}{}", finding.area.title());
            }
            row(&mut text, finding, colours);
            if let Some(remedy) = finding.verdict.remedy() {
                // What stands one line above already is the same thing to do.
                if before.replace(remedy) != Some(remedy) {
                    to_paste(&mut text, remedy);
                }
            }
        }
        let _ = writeln!(text, "\n{}", self.conclusion());
        for line in continued(&self.command().join(" "), WIDTH - 4) {
            let _ = writeln!(text, "    {line}");
        }
        text
    }
}

fn row(text: &mut String, finding: &Finding, colours: bool) {
    let indent = 2 + VERDICT_WIDTH + 2 + WHAT_WIDTH + 2;
    let word = coloured(&format!("{:<VERDICT_WIDTH$}", finding.verdict.word()), &finding.verdict, colours);
    let said = wrapped(&format!("{}: {}", finding.seen, finding.why), WIDTH - indent);
    let mut what = format!("{:<WHAT_WIDTH$}", finding.what);
    if what.chars().count() > WHAT_WIDTH {
        what = format!("{what}\n{:indent$}", "", indent = indent - 2);
    }
    let _ = write!(text, "  {word}  {what}");
    for (index, line) in said.iter().enumerate() {
        let before = if index == 0 { 2 } else { indent };
        let _ = writeln!(text, "{:before$}{line}", "");
    }
}

fn to_paste(text: &mut String, remedy: &Remedy) {
    let start = 2 + VERDICT_WIDTH + 2;
    let note = match remedy {
        Remedy::Arguments(_) => "k3s server ",
        Remedy::Options(_) => "fsmasq ",
        Remedy::First(_) | Remedy::Better(_) => "",
    };
    for (index, line) in continued(&format!("{note}{}", remedy.line()), WIDTH - start - 3).iter().enumerate()
    {
        let arrow = if index == 0 { "=> " } else { "   " };
        let _ = writeln!(text, "{:start$}{arrow}{line}", "");
    }
}

fn coloured(word: &str, verdict: &Verdict, colours: bool) -> String {
    // Green, cyan, yellow or red, none (ECMA-48).
    let code = match verdict {
        Verdict::Fine => 32,
        Verdict::Fsmasq => 36,
        Verdict::ToDo(remedy) if remedy.blocks() => 31,
        Verdict::ToDo(_) => 33,
        Verdict::Unknown => 0,
    };
    if colours { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
}

/// Lines of at most `width` characters, broken at blanks.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// The same for a line that a shell is to get.
fn continued(line: &str, width: usize) -> Vec<String> {
    let mut lines = wrapped(line, width - 2);
    let last = lines.len() - 1;
    for line in &mut lines[..last] {
        line.push_str(" \\");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;

    fn report(verdicts: impl IntoIterator<Item = Verdict>) -> Report {
        let findings = verdicts
            .into_iter()
            .map(|verdict| Finding::new(Area::Network, "thing", "seen", verdict, "why so"));
        Report::new(vec![], findings.collect())
    }

    #[test]
    fn what_is_only_an_argument_does_not_stop_a_node() {
        let flag = || Verdict::arguments(&["--snapshotter=native"]);
        let found = report([Verdict::Fsmasq, flag(), flag(), Verdict::better("x"), Verdict::Unknown]);
        assert_eq!(found.exit_code(), 0);
        assert_eq!(found.command().join(" "), "fsmasq k3s server --snapshotter=native");
        assert_eq!(report([Verdict::Fine]).command().join(" "), "k3s server");
        for blocking in [Verdict::first("x"), Verdict::options(&["--profile", "gvisor"])] {
            assert_eq!(report([Verdict::Fsmasq, blocking]).exit_code(), 1);
        }
    }

    #[test]
    fn an_option_that_is_added_takes_the_place_of_what_it_contradicts() {
        let options = Verdict::options(&["--map", "virtiofs=ext4", "--profile", "gvisor"]);
        let mut found = report([options.clone(), options]);
        assert_eq!(
            found.command().join(" "),
            "fsmasq --map 9p=ext4 --map virtiofs=ext4 --profile gvisor k3s server"
        );
        found.options = command::given_options(&Rules::default(), Some("none".into()));
        assert!(!found.command().contains(&"none".to_owned()));
        assert_eq!(found.conclusion(), "With these options a node can't run; with these it can:");
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let long = "word ".repeat(60);
        let finding = Finding::new(
            Area::Files,
            "a name of more than the width of its column",
            &long,
            Verdict::first(&long),
            &long,
        );
        let table = Report::new(vec![], vec![finding]).render(Format::Table, false);
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
    }

    #[test]
    fn lines_to_paste_go_on_behind_a_backslash() {
        assert_eq!(continued("a bb ccc", 6), ["a bb \\", "ccc"]);
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
    }
}

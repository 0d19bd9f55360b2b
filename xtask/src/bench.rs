//! `cargo xtask bench`: what fsmasq costs, against native and against other tracers, in one run.
//!
//! Competitors take turns within each round, so that what disturbs the machine disturbs them alike, and
//! ratios are taken within a round. Results go to docs/performance.md and its pictures.

mod calls;
mod competitors;
mod grid;
mod guest;
mod gvisor;
pub mod machine;
mod node;
mod plot;
mod programs;
pub mod report;
mod table;
mod threads;

use crate::tools::repository;
use anyhow::{Context, Result};
use competitors::Competitor::{EmptyFilter, Fsmasq, FsmasqTrapped, Native, Strace};
use competitors::Tools;
use grid::Grid;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use table::Unit;

/// What the project wants to stay below.
const OPEN_TARGET: f64 = 1.05;
const MISSING_TARGET: f64 = 1.1;
/// The same, within the scatter of a call of 0.1 µs.
const FILTER_TARGET: f64 = 1.05;
const TRAPPED_OPEN_TARGET: f64 = 0.7;
const PROGRAM_TARGET: f64 = 1.05;
const SHELLS_TARGET: f64 = 1.3;
const GVISOR_TARGET: f64 = 1.1;
const NODE_TARGET: f64 = 1.1;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Fewer and shorter rounds: about two minutes, with more noise.
    #[arg(long)]
    quick: bool,

    /// Only these parts; the others' results stay as they are in docs/performance.md.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,

    /// Rounds in which every competitor takes its turn.
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,

    /// The CPU for the rows in which program and tracer share one.
    #[arg(long, default_value_t = 0, value_name = "CPU")]
    cpu: u32,

    /// gVisor's runsc, for the part `gvisor`; otherwise it is built once and kept.
    #[arg(long, value_name = "FILE")]
    runsc: Option<PathBuf>,

    /// Also a Kubernetes node's start in gVisor (builds the node first).
    #[arg(long)]
    cluster: bool,

    /// Print only, and leave docs/ as it is.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Calls,
    Programs,
    Threads,
    Gvisor,
    Cluster,
}

const PARTS: [Part; 5] = [Part::Calls, Part::Programs, Part::Threads, Part::Gvisor, Part::Cluster];

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        match part {
            Part::Cluster if self.cluster => true,
            Part::Cluster => self.only.contains(&part),
            _ => self.only.is_empty() || self.only.contains(&part),
        }
    }

    fn runsc(&self) -> Result<PathBuf> {
        match &self.runsc {
            Some(runsc) => Ok(runsc.clone()),
            None => crate::tools::Cache::open()?.runsc(),
        }
    }
}

/// How long and how often.
#[derive(Debug, Clone)]
pub struct Settings {
    pub rounds: u32,
    /// Time per call, competitor and round.
    pub milliseconds: u64,
    pub cpu: u32,
}

impl Settings {
    /// The competitors with their columns; each round begins with another one.
    pub fn in_turn<T: Copy>(&self, all: &[T], round: u32) -> Vec<(usize, T)> {
        let mut turns: Vec<(usize, T)> = all.iter().copied().enumerate().collect();
        let first = usize::try_from(round).unwrap_or(0) % all.len().max(1);
        turns.rotate_left(first);
        turns
    }

    /// The prefix that keeps a program and its tracer on one CPU.
    pub fn pin(&self) -> Vec<OsString> {
        vec!["taskset".into(), "--cpu-list".into(), self.cpu.to_string().into()]
    }

    pub fn progress(&self, part: &str, round: u32) {
        eprintln!("{part}: round {} of {}", round + 1, self.rounds);
    }
}

/// What one part found.
struct Results {
    /// The part's name in the page's markers.
    name: &'static str,
    text: String,
    /// For the terminal only.
    verdicts: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (rounds, milliseconds) = if arguments.quick { (3, 20) } else { (9, 45) };
    let rounds = arguments.rounds.unwrap_or(rounds);
    let settings = Settings { rounds, milliseconds, cpu: arguments.cpu };
    let tools = Tools::prepare()?;
    let docs = repository().join("docs");
    let about = machine::describe();
    if machine::load() >= 1.0 {
        eprintln!("this machine is busy (load {:.1}): figures will scatter", machine::load());
    }
    let mut verdicts = Vec::new();
    for part in PARTS.into_iter().filter(|part| arguments.wants(*part)) {
        let pictures = (!arguments.dry_run).then_some(docs.as_path());
        let results = match part {
            Part::Calls => calls_part(&tools, &settings, pictures)?,
            Part::Programs => programs_part(&tools, &settings, pictures)?,
            Part::Threads => threads_part(&tools, &settings)?,
            Part::Gvisor => gvisor_part(&tools, &settings, &arguments.runsc()?)?,
            Part::Cluster => cluster_part(&settings)?,
        };
        println!("\n{}", results.text);
        verdicts.extend(results.verdicts);
        if !arguments.dry_run {
            let rounds = match part {
                Part::Threads => rounds.min(threads::ROUNDS),
                Part::Cluster => rounds.min(node::ROUNDS),
                _ => rounds,
            };
            let text = format!("{about} Median of {rounds} rounds.\n\n{}", results.text);
            report::write(&docs.join("performance.md"), results.name, &text)?;
        }
    }
    for verdict in verdicts {
        println!("{verdict}");
    }
    Ok(())
}

fn calls_part(tools: &Tools, settings: &Settings, docs: Option<&Path>) -> Result<Results> {
    let (free, pinned) = calls::measure(tools, settings)?;
    let mut text = both_ways(&free.time, &pinned.time, Unit::Nanoseconds);
    let tracer = table::values(&free.tracer, Unit::Nanoseconds);
    let _ = writeln!(text, "The tracer's CPU time for one call, as started.\n\n{tracer}");
    if let Some(docs) = docs {
        let title = "One call, as a multiple of native";
        picture(&free.time, title, &docs.join("performance-calls.svg"))?;
        let title = "One call, as a multiple of native; program and tracer on one CPU";
        picture(&pinned.time, title, &docs.join("performance-calls-one-cpu.svg"))?;
    }
    let wanted = [
        (calls::OPEN, Fsmasq, Native, OPEN_TARGET),
        (calls::OPEN, EmptyFilter, Native, OPEN_TARGET),
        (calls::MISSING, Fsmasq, Native, MISSING_TARGET),
        (calls::GETPPID, Fsmasq, EmptyFilter, FILTER_TARGET),
        (calls::OPEN, FsmasqTrapped, Strace, TRAPPED_OPEN_TARGET),
    ];
    let mut verdicts = Vec::new();
    for (grid, how) in [(&free.time, "as started"), (&pinned.time, "on one CPU")] {
        for (row, one, other, target) in wanted {
            let ratio = grid.ratio(row, calls::column(one), calls::column(other)).map(|spread| spread.median);
            let what = format!("{}: {} against {}, {how}", calls::title(row), one.name(), other.name());
            verdicts.push(verdict(&what, ratio, target));
        }
    }
    let _ = write!(text, "{}", bulleted(&verdicts));
    Ok(Results { name: "calls", text, verdicts })
}

fn programs_part(tools: &Tools, settings: &Settings, docs: Option<&Path>) -> Result<Results> {
    let (free, pinned) = programs::measure(tools, settings)?;
    if let Some(docs) = docs {
        let title = "Whole programs, as a multiple of native";
        picture(&free, title, &docs.join("performance-programs.svg"))?;
        let title = "Whole programs, as a multiple of native; program and tracer on one CPU";
        picture(&pinned, title, &docs.join("performance-programs-one-cpu.svg"))?;
    }
    let (native, fsmasq) = (calls::column(Native), calls::column(Fsmasq));
    let mut verdicts = Vec::new();
    for (grid, how) in [(&free, "as started"), (&pinned, "on one CPU")] {
        for (row, title) in grid.rows.iter().enumerate() {
            let ratio = grid.ratio(row, fsmasq, native).map(|spread| spread.median);
            let target = if title.starts_with("sh -c") { SHELLS_TARGET } else { PROGRAM_TARGET };
            verdicts.push(verdict(&format!("{title}, {how}"), ratio, target));
        }
    }
    let text = both_ways(&free, &pinned, Unit::Milliseconds) + &bulleted(&verdicts);
    Ok(Results { name: "programs", text, verdicts })
}

fn both_ways(free: &Grid, pinned: &Grid, unit: Unit) -> String {
    format!(
        "As started: program and tracer on any CPU. Native's time, and the others as multiples of it \
         (lowest–highest round).\n\n{}\nProgram and tracer on one CPU.\n\n{}\n",
        table::ratios(free, 0, unit),
        table::ratios(pinned, 0, unit)
    )
}

fn picture(grid: &Grid, title: &str, path: &Path) -> Result<()> {
    plot::write(grid, title, path).with_context(|| path.display().to_string())
}

fn threads_part(tools: &Tools, settings: &Settings) -> Result<Results> {
    let measured = threads::measure(tools, settings)?;
    let text = format!(
        "One open of a missing file.\n\n{}\nThe tracer's resident memory meanwhile.\n\n{}\nThreads that open \
         missing files at once: time per open, of all together.\n\n{}",
        table::values(&measured.time, Unit::Nanoseconds),
        table::values(&measured.memory, Unit::Kibibytes),
        table::values(&measured.at_once, Unit::Nanoseconds)
    );
    Ok(Results { name: "threads", text, verdicts: Vec::new() })
}

fn gvisor_part(tools: &Tools, settings: &Settings, runsc: &Path) -> Result<Results> {
    let grid = gvisor::measure(tools, settings, runsc)?;
    let verdicts: Vec<String> = [(gvisor::OPEN, "open, close"), (gvisor::MISSING, "open, ENOENT")]
        .into_iter()
        .map(|(row, title)| {
            let ratio = grid.ratio(row, gvisor::FSMASQ, gvisor::BARE_TRACER).map(|spread| spread.median);
            verdict(&format!("{title} in gVisor against a bare tracer"), ratio, GVISOR_TARGET)
        })
        .collect();
    let text = format!("{}\n{}", table::ratios(&grid, 0, Unit::Nanoseconds), bulleted(&verdicts));
    Ok(Results { name: "gvisor", text, verdicts })
}

fn cluster_part(settings: &Settings) -> Result<Results> {
    let grid = node::measure(settings)?;
    let ratio = grid.ratio(0, node::PREFIXED, node::BARE).map(|spread| spread.median);
    let verdicts = vec![verdict("node Ready in gVisor against bare", ratio, NODE_TARGET)];
    let text = format!("{}\n{}", table::ratios(&grid, node::BARE, Unit::Seconds), bulleted(&verdicts));
    Ok(Results { name: "cluster", text, verdicts })
}

/// A miss is told, and is no failure: the machine may be busy.
fn verdict(what: &str, ratio: Option<f64>, target: f64) -> String {
    match ratio {
        Some(ratio) => {
            let verdict = if ratio <= target { "met" } else { "MISSED" };
            format!("{what}: {} (target ≤ {target}: {verdict})", table::significant(ratio))
        }
        None => format!("{what}: not measured (target ≤ {target})"),
    }
}

fn bulleted(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |text, line| text + "- " + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_competitor_is_first_once_in_as_many_rounds() {
        let settings = Settings { rounds: 3, milliseconds: 1, cpu: 0 };
        let firsts: Vec<char> = (0..3).map(|round| settings.in_turn(&['a', 'b', 'c'], round)[0].1).collect();
        assert_eq!(firsts, ['a', 'b', 'c']);
        assert_eq!(settings.in_turn(&['a', 'b', 'c'], 1), [(1, 'b'), (2, 'c'), (0, 'a')]);
    }

    #[test]
    fn a_miss_is_said_and_nothing_more() {
        assert_eq!(verdict("open", Some(0.55), 0.7), "open: 0.55 (target ≤ 0.7: met)");
        assert_eq!(verdict("open", Some(0.71), 0.7), "open: 0.71 (target ≤ 0.7: MISSED)");
    }
}

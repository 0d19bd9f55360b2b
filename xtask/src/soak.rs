//! `cargo xtask soak`: everything that programs do, at once, below one prefix, for many minutes. Every worker checks
//! its own answers; the tracer's memory and descriptors are the same at the end as after the warm-up.

mod below;
mod processes;
mod report;
mod workers;

use crate::tools::{executable, repository};
use anyhow::{Context, Result, bail, ensure};
use processes::Sample;
use report::{Outcome, Row};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What the tracer may take beside 5,000 live threads.
pub const THREADS_KIBIBYTES: u64 = 64 << 10;
/// What its memory may be larger at the end than after the warm-up: the allocator keeps freed pieces.
const SLACK_KIBIBYTES: u64 = 4 << 10;
/// How long the last task, and then the tracer, may take to end.
const END: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long, the warm-up included.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,

    /// Print only, and leave docs/ as it is.
    #[arg(long)]
    dry_run: bool,

    /// This launcher, instead of one that is built first.
    #[arg(long, value_name = "FILE")]
    launcher: Option<PathBuf>,

    /// The behaviours binary, instead of one that is built first.
    #[arg(long, value_name = "FILE")]
    guests: Option<PathBuf>,

    /// The part that runs below the prefix.
    #[arg(long, hide = true)]
    below: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let time = Duration::from_secs(u64::from(arguments.minutes) * 60);
    if arguments.below {
        return below::run(time);
    }
    let launcher =
        arguments.launcher.clone().map_or_else(crate::tools::launcher, |file| Ok(file.canonicalize()?))?;
    let guest = arguments.guests.clone().map_or_else(guests, |file| Ok(file.canonicalize()?))?;
    let folder = tempfile::Builder::new().prefix("fsmasq-soak-").tempdir()?;
    let log = folder.path().join("log");
    // What others mount or write meanwhile is not the workers': each compares tables and figures.
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c"]);
    command.arg("mount -t tmpfs quiet /dev/shm && exec \"$0\" \"$@\"").arg(launcher);
    command.args(["--map", "tmpfs=ext4", "--profile", "none", "--summary", "--log-file"]).arg(&log);
    command.arg("--").arg(env::current_exe()?).args(["soak", "--below", "--minutes"]);
    command.arg(arguments.minutes.to_string()).current_dir(folder.path());
    command.env("FSMASQ_SOAK_GUEST", guest).env("RUST_BACKTRACE", "0");
    let started = Instant::now();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the launcher")?;
    let mut gate = child.stdin.take().context("the driver's stdin")?;
    let lines = lines_of(child.stdout.take().context("the driver's stdout")?);

    let mut outcome = Outcome::new(arguments.minutes);
    let watched = watch(&lines, &mut gate, child.id(), started, &mut outcome);
    if let Err(error) = watched {
        // Nothing of it must be left behind: everything below ends with the tracer.
        if let Some(tracer) = processes::tracer_of(child.id()) {
            let _ = Command::new("kill").args(["-KILL", &tracer.to_string()]).status();
        }
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    drop(gate);
    let status = child.wait()?;
    if !status.success() {
        outcome.problem(format!("the driver below the prefix ended with {status}"));
    }
    if !processes::has_ended(outcome.tracer, END) {
        outcome.problem("the tracer goes on though everything has ended".into());
    }
    outcome.log(&std::fs::read_to_string(&log).unwrap_or_default());
    println!("\n{}", outcome.text());
    if !arguments.dry_run {
        let page = repository().join("docs/soak.md");
        std::fs::write(&page, outcome.page()).with_context(|| page.display().to_string())?;
    }
    ensure!(outcome.problems().is_empty(), "the soak found {} problems", outcome.problems().len());
    Ok(())
}

/// The behaviours binary, whose guests are among the workers.
fn guests() -> Result<PathBuf> {
    let words = ["test", "--no-run", "--package=fsmasq", "--test=behaviours"];
    executable("guests: cargo test --no-run", &words, "behaviours")
}

fn lines_of(stdout: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Takes samples until the driver has said its last word.
fn watch(
    lines: &Receiver<String>,
    gate: &mut impl Write,
    driver: u32,
    started: Instant,
    outcome: &mut Outcome,
) -> Result<()> {
    let deadline = started + outcome.time() + END + Duration::from_secs(300);
    let mut next = started + Duration::from_secs(60);
    loop {
        if outcome.tracer == 0 {
            outcome.tracer = processes::tracer_of(driver).unwrap_or(0);
        }
        match lines.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.split_once(' ') {
                // Nothing runs now: what the tracer keeps, it keeps for good.
                Some(("quiet", what)) => {
                    let row = Row::take(what, started.elapsed(), outcome.tracer)?;
                    println!("{row}");
                    outcome.rows.push(row);
                    writeln!(gate, "go")?;
                }
                Some(("counts", json)) => outcome.counts = serde_json::from_str(json)?,
                _ => println!("{line}"),
            },
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                next += Duration::from_secs(60);
                if let Ok(row) = Row::take("busy", started.elapsed(), outcome.tracer) {
                    println!("{row}");
                    outcome.rows.push(row);
                }
                if Instant::now() > deadline {
                    bail!("the soak does not end: the driver or the tracer hangs");
                }
            }
        }
    }
    judge(outcome);
    Ok(())
}

/// Memory, descriptors and tasks of the quiet moments.
fn judge(outcome: &mut Outcome) {
    let quiet: Vec<(Sample, String)> = outcome
        .rows
        .iter()
        .filter(|row| row.what != "busy")
        .map(|row| (row.sample, row.what.clone()))
        .collect();
    let mut problems = Vec::new();
    if let [first, .., last] = &quiet[..] {
        if last.0.resident > first.0.resident + SLACK_KIBIBYTES {
            problems.push(format!("memory grew from {} to {} KiB", first.0.resident, last.0.resident));
        }
        if last.0.descriptors != first.0.descriptors {
            problems.push(format!("descriptors: {} then, {} now", first.0.descriptors, last.0.descriptors));
        }
    } else {
        problems.push("the driver did not come to its quiet moments".into());
    }
    for (sample, what) in quiet {
        if sample.zombies > 0 {
            problems.push(format!("{} zombies {what}", sample.zombies));
        }
        if sample.processes != 1 {
            problems.push(format!("{} processes {what}: only the driver should be there", sample.processes));
        }
    }
    for problem in problems {
        outcome.problem(problem);
    }
}

//! The checks that run in the sandbox: the node's own program makes them and prints a JSON line for each.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::report::{Report, Row};
use super::sandbox::Sandbox;
use crate::tools::last_lines;

/// As tests/cluster/node/check prints it.
#[derive(Deserialize)]
struct Line {
    name: String,
    ok: bool,
    value: String,
    seconds: f64,
}

/// Runs all checks of a phase and adds a row for each. A check has a deadline of its own, so this ends.
pub fn run_phase(sandbox: &Sandbox, phase: &str, report: &mut Report) -> Result<()> {
    let mut process = sandbox
        .exec(&["node", "check", phase])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting the checks in the sandbox")?;
    let output = process.stdout.take().context("the checks have no standard output")?;
    for line in BufReader::new(output).lines() {
        report.push(row(&line?)?);
    }
    let mut complaints = String::new();
    if let Some(mut errors) = process.stderr.take() {
        errors.read_to_string(&mut complaints)?;
    }
    let status = process.wait()?;
    if !status.success() {
        bail!("the checks of the phase {phase} ended with {status}: {}", last_lines(&complaints, 10));
    }
    Ok(())
}

/// What the checks print of one of them.
pub fn row(line: &str) -> Result<Row> {
    let check: Line = serde_json::from_str(line).with_context(|| format!("the checks printed {line:?}"))?;
    Ok(Row {
        name: check.name,
        passed: check.ok,
        value: check.value,
        time: Duration::try_from_secs_f64(check.seconds).unwrap_or_default(),
    })
}

/// A check that is made here.
pub fn timed(name: &str, check: impl FnOnce() -> Result<String>) -> Row {
    let started = Instant::now();
    match check() {
        Ok(value) => Row::passed(name, value, started.elapsed()),
        Err(error) => Row::failed(name, &error),
    }
}

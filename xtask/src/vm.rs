//! `cargo xtask vm`: the node of `cargo xtask cluster` on ordinary Linux, in a machine whose files are on 9p shares
//! (virtio); bare, where the kubelet dies, and below `fsmasq`.

mod machine;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cluster::bundle::Bundle;
use crate::cluster::report::{Report, Row, fail_unless_none, tally};
use crate::cluster::scratch::Scratch;
use crate::cluster::setup::{Cgroup, Programs, Setup, Workload};
use crate::cluster::{checks, node_log, sandbox};
use crate::tools::step;
use machine::{Acceleration, Machine};

#[derive(clap::Args)]
pub struct Arguments {
    /// Everything on one 9p root, the kubelet's and containerd's directories too: the case that also runs bare
    #[arg(long)]
    one_root: bool,
    /// Leave the directory of the run behind, with all logs
    #[arg(long)]
    keep: bool,
    /// One line for each check, instead of a table
    #[arg(long)]
    lines: bool,
}

/// Emulation takes its time; a node is Ready there after half a minute.
const LIMIT: Duration = Duration::from_secs(600);

pub fn run(arguments: &Arguments) -> Result<()> {
    sandbox::stop_on_interrupt()?;
    let mut counts = (0, 0);
    let mut acceleration = None;
    for prefix in [None, Some(vec!["--profile=none".to_owned()])] {
        let setup = Setup {
            cgroup: Cgroup::V2,
            own_mounts: !arguments.one_root,
            prefix,
            prepared: false,
            workload: Workload::Node,
        };
        if sandbox::interrupted() {
            bail!("interrupted");
        }
        let report = check(arguments, &setup, &mut acceleration)?;
        let (passed, failed) = report.counts();
        counts = (counts.0 + passed, counts.1 + failed);
        print!("{}", if arguments.lines { report.lines() } else { report.table() });
    }
    println!("{}", tally(counts));
    fail_unless_none(counts.1)
}

fn check(arguments: &Arguments, setup: &Setup, acceleration: &mut Option<Acceleration>) -> Result<Report> {
    let programs = Programs::get(setup)?;
    let mut scratch = Scratch::new()?;
    let bundle = step("machine: root directory", || Bundle::assemble(&scratch, &programs, setup))?;
    let mut report = Report::new(format!("Linux in QEMU, {setup}"));
    let dies = setup.prefix.is_none() && setup.own_mounts;
    let machine =
        step("machine: kernel and first files", || Machine::assemble(&bundle, !dies, acceleration))?;
    let name = format!("node, {setup}, {}", machine.acceleration());
    let ended = step(&name, || machine.run(LIMIT));
    match ended {
        Err(error) => report.push(Row::failed("the machine runs to its end", &error)),
        Ok(status) if dies => report.push(death(&bundle, &status)?),
        Ok(status) => life(&bundle, &status, &mut report)?,
    }
    if setup.prefix.is_some() && setup.own_mounts {
        report.push(tables(&bundle));
    }
    if arguments.keep || !report.all_passed() {
        scratch.keep();
        println!("kept for a look: {}", bundle.logs());
    }
    Ok(report)
}

/// The node was bare, and had to die.
fn death(bundle: &Bundle, status: &str) -> Result<Row> {
    const NAME: &str = "the kubelet dies of 9p";
    let fatal = node_log::fatal_lines(bundle)?;
    Ok(match fatal.iter().find(|line| line.contains("could not find device in cached partitions map")) {
        Some(line) => Row::passed(NAME, format!("{status}: {line}"), Duration::ZERO),
        None => Row::failed_with(NAME, format!("{status}; its last words:\n{}", node_log::tail(bundle, 15))),
    })
}

/// The node was to be Ready, to pass its checks, and to stop when it was asked to.
fn life(bundle: &Bundle, status: &str, report: &mut Report) -> Result<()> {
    let text = fs::read_to_string(bundle.folder().join("checks")).unwrap_or_default();
    for line in text.lines() {
        report.push(checks::row(line)?);
    }
    if text.is_empty() {
        let seen = format!("{status}; its last words:\n{}", node_log::tail(bundle, 15));
        report.push(Row::failed_with("the node is checked", seen));
    }
    report.push(node_log::cadvisor_row("no cAdvisor error in the log", bundle)?);
    report.push(match status {
        "stopped with status 0" => Row::passed("node stopped cleanly", status.to_owned(), Duration::ZERO),
        other => Row::failed_with("node stopped cleanly", other.to_owned()),
    });
    Ok(())
}

/// As `node mounts` prints it.
#[derive(Deserialize, PartialEq, Eq, Debug)]
struct Mounts {
    statfs: String,
    #[serde(rename = "type")]
    kind: String,
    epoll: String,
    poll: String,
}

/// What a program sees of a 9p mount in the machine, bare and below the prefix.
fn tables(bundle: &Bundle) -> Row {
    const NAME: &str = "a program's view of the share";
    let started = Instant::now();
    let read = |name: &str| -> Result<Mounts> {
        let text =
            fs::read_to_string(bundle.folder().join(name)).with_context(|| format!("reading {name}"))?;
        serde_json::from_str(&text).with_context(|| format!("{name} has {text:?}"))
    };
    let compare = || {
        let (bare, below) = (read("tables.bare")?, read("tables.below")?);
        // A share passes the magic of the file system outside through, which is no 9p's.
        if (bare.kind.as_str(), below.kind.as_str()) != ("9p", "ext4") || bare.statfs == "0x1021997" {
            bail!("bare {bare:?}, below {below:?}");
        }
        Ok(format!(
            "bare {} {}, table watched: epoll {}, poll {}; below {} {}, epoll {}, poll {}",
            bare.kind, bare.statfs, bare.epoll, bare.poll, below.kind, below.statfs, below.epoll, below.poll
        ))
    };
    match compare() {
        Ok(seen) => Row::passed(NAME, seen, started.elapsed()),
        Err(error) => Row::failed(NAME, &error),
    }
}

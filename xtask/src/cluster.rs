//! `cargo xtask cluster`: a whole Kubernetes node in a gVisor sandbox, on real 9p mounts, below one `fsmasq` prefix;
//! and what is seen of it, check by check.

pub mod bundle;
mod cadvisor;
pub mod checks;
mod matrix;
pub mod node_log;
pub mod report;
pub mod sandbox;
pub mod scratch;
pub mod setup;
mod spec;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::tools::step;
use bundle::Bundle;
use report::{Report, Row};
use sandbox::Sandbox;
use scratch::Scratch;
use setup::{Cgroup, Programs, Setup, Workload};

use matrix::{test_cadvisor, test_matrix};

#[derive(clap::Args)]
pub struct Arguments {
    /// Without the prefix: shows how the node dies
    #[arg(long)]
    bare: bool,
    /// With --bare: after making by hand what a sandbox lacks (/dev/kmsg, sysctls), shows what it dies of then
    #[arg(long, requires = "bare")]
    prepared: bool,
    /// The version of the cgroup file system in the sandbox
    #[arg(long, value_enum, default_value_t = Cgroup::V1)]
    cgroup: Cgroup,
    /// Leave the kubelet's and containerd's directories on the root, without mounts of their own
    #[arg(long)]
    one_root: bool,
    /// A prompt in the sandbox, with kubectl, in place of the checks
    #[arg(long, conflicts_with = "bare")]
    shell: bool,
    /// Leave the node running at the end, and say how to reach it
    #[arg(long, conflicts_with = "bare")]
    keep: bool,
    /// Run the k3s found on PATH in place of this repository's node (untried: no k3s could be had where this was written)
    #[arg(long)]
    k3s: bool,
    /// All of cgroup v1 and v2, with and without mounts of their own; and how it dies bare
    #[arg(long, conflicts_with_all = ["bare", "one_root", "shell", "keep", "k3s"])]
    matrix: bool,
    /// Only what the kubelet asks cAdvisor for at its start, in each gVisor, that of 2022 included
    #[arg(long, conflicts_with_all = ["bare", "one_root", "shell", "keep", "k3s", "matrix", "measure"])]
    cadvisor: bool,
    /// The time until the node is Ready (cgroup v2, one root: the one kind that also runs bare), bare and below the prefix
    #[arg(long, conflicts_with_all = ["bare", "one_root", "shell", "keep", "k3s", "matrix"])]
    measure: bool,
    /// An option for fsmasq itself, as in --prefix-option=--summary; may be given more than once
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    prefix_option: Vec<String>,
}

const MEASURE_ROUNDS: usize = 3;

pub fn run(arguments: &Arguments) -> Result<()> {
    sandbox::stop_on_interrupt()?;
    if arguments.matrix {
        return test_matrix();
    }
    if arguments.cadvisor {
        return test_cadvisor();
    }
    if arguments.measure {
        return measure();
    }
    let setup = Setup {
        cgroup: arguments.cgroup,
        own_mounts: !arguments.one_root,
        prefix: (!arguments.bare).then(|| arguments.prefix_option.clone()),
        prepared: arguments.prepared,
        workload: if arguments.k3s { Workload::K3s } else { Workload::Node },
    };
    let programs = Programs::get(&setup)?;
    let mut scratch = Scratch::new()?;
    let bundle = step("sandbox: root directory", || Bundle::assemble(&scratch, &programs, &setup))?;
    println!("{setup}");
    println!("logs: {}", bundle.logs());

    if arguments.bare {
        let outcome = bare_death(&bundle)?;
        println!("{outcome}");
        return Ok(());
    }
    if arguments.shell {
        let sandbox = start_until_ready(&bundle)?.0;
        sandbox.shell()?;
        return stop_or_keep(arguments, sandbox, &mut scratch);
    }
    let (report, sandbox) = check(&bundle, setup.workload == Workload::Node)?;
    if sandbox::interrupted() {
        bail!("interrupted; the sandbox is stopped and its directory removed");
    }
    print!("{}", report.table());
    if !report.all_passed() {
        scratch.keep();
        println!("kept for a look: {}", bundle.logs());
    }
    if let Some(sandbox) = sandbox {
        stop_or_keep(arguments, sandbox, &mut scratch)?;
    }
    println!("{}", report.tally());
    report.into_result()
}

fn stop_or_keep(arguments: &Arguments, mut sandbox: Sandbox, scratch: &mut Scratch) -> Result<()> {
    if arguments.keep {
        scratch.keep();
        println!("{}", sandbox.leave_running());
        return Ok(());
    }
    step("node: stopped", || sandbox.stop()).map(|_| ())
}

/// Starts the node and waits until it is Ready; returns how long that took from the start of the sandbox.
fn start_until_ready<'a>(bundle: &'a Bundle) -> Result<(Sandbox<'a>, Duration)> {
    step("node: start until Ready", || {
        let mut sandbox = Sandbox::start(bundle)?;
        let time = sandbox.wait_until_ready()?;
        Ok((sandbox, time))
    })
}

/// Starts the node and reports that as a row; None where it did not become Ready.
fn started<'a>(row: &str, bundle: &'a Bundle, report: &mut Report) -> Option<Sandbox<'a>> {
    match start_until_ready(bundle) {
        Ok((sandbox, ready)) => {
            let seen = format!("{:.1} s after the sandbox's start", ready.as_secs_f64());
            report.push(Row::passed(row, seen, ready));
            Some(sandbox)
        }
        Err(error) => {
            report.push(Row::failed(row, &error));
            None
        }
    }
}

/// All checks on one setup; `kept` are those that take their time. The node of after the restart is returned running, if
/// it came up.
fn check<'a>(bundle: &'a Bundle, kept: bool) -> Result<(Report, Option<Sandbox<'a>>)> {
    let mut report = Report::new(bundle.setup().to_string());
    let Some(mut sandbox) = started("node Ready after the start", bundle, &mut report) else {
        return Ok((report, None));
    };
    step("checks", || checks::run_phase(&sandbox, "first", &mut report))?;
    if kept {
        step("checks: what is kept", || checks::run_phase(&sandbox, "kept", &mut report))?;
        step("checks: Services", || checks::run_phase(&sandbox, "services", &mut report))?;
    }
    report.push(node_log::cadvisor_row("no cAdvisor error in the log", bundle)?);
    report.push(checks::timed("node stopped cleanly", || step("node: stop", || sandbox.stop())));

    // The same directories in a sandbox of its own, as after a reboot: what was in memory only is gone.
    let Some(sandbox) = started("restarted: node Ready after the start", bundle, &mut report) else {
        return Ok((report, None));
    };
    step("checks after the restart", || checks::run_phase(&sandbox, "restarted", &mut report))?;
    report.push(node_log::cadvisor_row("restarted: no cAdvisor error in the log", bundle)?);
    Ok((report, Some(sandbox)))
}

/// Runs the node without the prefix and returns what it died of; an error if it lives.
fn bare_death(bundle: &Bundle) -> Result<String> {
    let outcome = step("node, bare: start until its end", || {
        let mut sandbox = Sandbox::start(bundle)?;
        sandbox.wait_until_dead()
    })?;
    let fatal = node_log::fatal_lines(bundle)?;
    if fatal.is_empty() {
        bail!(
            "the node ended ({outcome}), but its log has no fatal message of the kubelet's:\n{}",
            node_log::tail(bundle, 15)
        );
    }
    Ok(format!("It died, as expected ({outcome}). The log's last words:\n{}", fatal.join("\n")))
}

/// How long a node takes from the start of its sandbox until it is Ready, in cgroup v2 on one 9p root, which is what
/// also runs bare (after some preparation, see bare-node.sh).
pub fn time_to_ready(prefixed: bool) -> Result<Duration> {
    let setup = Setup {
        cgroup: Cgroup::V2,
        own_mounts: false,
        prefix: prefixed.then(Vec::new),
        prepared: !prefixed,
        workload: Workload::Node,
    };
    let programs = Programs::get(&setup)?;
    let scratch = Scratch::new()?;
    let bundle = Bundle::assemble(&scratch, &programs, &setup)?;
    let (mut sandbox, time) = start_until_ready(&bundle).with_context(|| setup.to_string())?;
    sandbox.stop()?;
    Ok(time)
}

/// In turns, because what else the machine does changes; the shortest times are compared for the same reason.
fn measure() -> Result<()> {
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..MEASURE_ROUNDS {
        for (time, prefixed) in shortest.iter_mut().zip([false, true]) {
            *time = time_to_ready(prefixed)?.min(*time);
        }
    }
    let [bare, prefixed] = shortest.map(|time| time.as_secs_f64());
    println!(
        "node Ready, shortest of {MEASURE_ROUNDS}: bare {bare:.1} s, below fsmasq {prefixed:.1} s, ratio {:.2}",
        prefixed / bare
    );
    Ok(())
}

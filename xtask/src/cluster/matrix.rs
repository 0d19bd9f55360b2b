//! The cluster as a test: each cgroup version, with and without mounts of their own, and how the node dies bare.

use anyhow::{Result, bail};

use super::bundle::Bundle;
use super::report::{Report, fail_unless_none, tally};
use super::scratch::Scratch;
use super::setup::{Cgroup, Programs, Setup, Workload};
use super::{bare_death, cadvisor, check, checks, sandbox};

/// Prints a line for each check of each setup, and fails if one failed.
pub fn test_matrix() -> Result<()> {
    let mut counts = (0, 0);
    for (cgroup, own_mounts) in
        [(Cgroup::V1, true), (Cgroup::V1, false), (Cgroup::V2, true), (Cgroup::V2, false)]
    {
        let setup =
            Setup { cgroup, own_mounts, prefix: Some(Vec::new()), prepared: false, workload: Workload::Node };
        print_and_count(&in_scratch(&setup, prefixed)?, &mut counts);
    }
    // Bare it dies of what comes first; with that made by hand, of what can't be made by hand.
    for prepared in [false, true] {
        let setup =
            Setup { cgroup: Cgroup::V1, own_mounts: true, prefix: None, prepared, workload: Workload::Node };
        print_and_count(&in_scratch(&setup, bare)?, &mut counts);
    }
    print_and_count(&every_gvisor()?, &mut counts);
    println!("{}", tally(counts));
    fail_unless_none(counts.1)
}

/// cAdvisor alone, in each gVisor.
pub fn test_cadvisor() -> Result<()> {
    let report = every_gvisor()?;
    print!("{}", report.lines());
    println!("{}", report.tally());
    report.into_result()
}

fn every_gvisor() -> Result<Report> {
    let setup = Setup {
        cgroup: Cgroup::V1,
        own_mounts: true,
        prefix: Some(Vec::new()),
        prepared: false,
        workload: Workload::Node,
    };
    in_scratch(&setup, cadvisor::rows)
}

fn in_scratch(setup: &Setup, work: fn(&Bundle) -> Result<Report>) -> Result<Report> {
    let programs = Programs::get(setup)?;
    let mut scratch = Scratch::new()?;
    let bundle = Bundle::assemble(&scratch, &programs, setup)?;
    let report = work(&bundle)?;
    if sandbox::interrupted() {
        bail!("interrupted; the sandbox is stopped and its directory removed");
    }
    if !report.all_passed() {
        scratch.keep();
        println!("kept for a look: {}", bundle.logs());
    }
    Ok(report)
}

fn prefixed(bundle: &Bundle) -> Result<Report> {
    // What takes its time is looked at once; memory is counted in full in cgroup v1 only.
    let kept = bundle.setup().cgroup == Cgroup::V1 && bundle.setup().own_mounts;
    let (report, sandbox) = check(bundle, kept)?;
    drop(sandbox); // it was stopped in order once already, before the restart
    Ok(report)
}

fn bare(bundle: &Bundle) -> Result<Report> {
    let mut report = Report::new(bundle.setup().to_string());
    report.push(checks::timed("dies without the prefix", || bare_death(bundle)));
    Ok(report)
}

fn print_and_count(report: &Report, counts: &mut (usize, usize)) {
    print!("{}", report.lines());
    let (passed, failed) = report.counts();
    counts.0 += passed;
    counts.1 += failed;
}

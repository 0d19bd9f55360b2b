//! Shells on a terminal: what bash, dash and busybox say of jobs that stop, go on, end and hang up.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{script, sections};
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::run;

pub const SUITES: [Suite; 1] = [Suite {
    name: "shells",
    about: "job control of bash, dash and busybox on a terminal, by their transcripts",
    long: false,
    places: &[Place::Linux, Place::Gvisor],
    make: plan,
}];

fn plan(_: &Context) -> Result<Plan, Missing> {
    run(Command::new("python3").args(["-c", "import pty"])).context("python3")?;
    let mut plan = Plan::new(Vec::new());
    for shell in ["bash", "dash", "busybox"] {
        if run(Command::new("sh").args(["-c", &format!("command -v {shell}")])).is_err() {
            plan.skipped.push(format!("{shell}: not on PATH"));
            continue;
        }
        let words = move |case: Option<&str>| {
            let mut words =
                vec!["python3".into(), script("shells/transcript.py").into_os_string(), shell.into()];
            words.extend(case.map(Into::into));
            words
        };
        let job = Job::new(shell, words(None), Duration::from_secs(300), sections);
        plan.jobs.push(job.again(move |case| words(Some(case))));
    }
    Ok(plan)
}

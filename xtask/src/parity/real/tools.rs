//! Everyday programs that read mount tables, and psutil's own tests.

use std::process::Command;
use std::time::Duration;

use super::{script, sections};
use crate::parity::readers;
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::{run, step};

pub const SUITES: [Suite; 2] = [
    Suite {
        name: "system-tools",
        about: "findmnt, df, mount, stat -f, mountpoint, lsblk, busybox' and systemd's tools: all forms of their output",
        long: false,
        places: &[Place::Linux, Place::Gvisor],
        make: tools,
    },
    Suite {
        name: "psutil",
        about: "psutil's own tests of Linux, processes and the system",
        long: true,
        places: &[Place::Linux],
        make: psutil,
    },
];

fn tools(_: &Context) -> Result<Plan, Missing> {
    let words = ["bash".into(), script("tools/tools.sh").into_os_string()];
    let job = Job::new("tools", words, Duration::from_secs(180), sections);
    Ok(Plan::new(vec![job]))
}

fn psutil(context: &Context) -> Result<Plan, Missing> {
    let venv = context.folder.join("venv");
    step("psutil in a virtual environment", || {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        // The last version whose wheel has its tests.
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "psutil==6.1.1", "pytest"]))
    })?;
    let python = venv.join("bin/python");
    let jobs = ["test_linux", "test_posix", "test_process", "test_system", "test_misc"].map(|tests| {
        let python = python.clone();
        let words = move |test: &str| {
            [python.as_os_str().into(), "-m".into(), "unittest".into(), "-v".into(), test.into()].to_vec()
        };
        let all = words(&format!("psutil.tests.{tests}"));
        Job::new(tests, all, Duration::from_secs(600), readers::unittest).again(words)
    });
    Ok(Plan::new(jobs.into()))
}

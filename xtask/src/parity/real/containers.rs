//! Namespaces by hand, and containers of runc, bare and with what container engines add.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{script, sections};
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::run;

const LIMIT: Duration = Duration::from_secs(400);

pub const SUITES: [Suite; 2] = [
    Suite {
        name: "namespaces",
        about: "unshare in all forms, the init of a namespace and what ends it, mounts, chroot, setpriv, nsenter, bubblewrap",
        long: false,
        places: &[Place::Linux],
        make: namespaces,
    },
    Suite {
        name: "containers",
        about: "runc: run, exec, pause, kill, PID 1 that crashes; with a seccomp profile, in a user namespace",
        long: false,
        places: &[Place::Linux],
        make: containers,
    },
];

fn namespaces(context: &Context) -> Result<Plan, Missing> {
    context.cache.debian(&["bubblewrap"])?;
    let words = [
        "bash".into(),
        script("containers/namespaces.sh").into_os_string(),
        crash(context)?.into_os_string(),
    ];
    Ok(Plan::new(vec![Job::new("namespaces", words, LIMIT, sections).maps(&["tmpfs=ext4"])]))
}

fn containers(context: &Context) -> Result<Plan, Missing> {
    let [runc, crash] = [context.cache.runc()?, crash(context)?];
    let kinds: &[&str] =
        if context.short { &["seccomp+userns"] } else { &["plain", "seccomp", "userns", "seccomp+userns"] };
    let jobs = kinds.iter().map(|kind| {
        let mut words = vec!["bash".into(), script("containers/life.sh").into_os_string()];
        words.extend([runc.clone().into_os_string(), crash.clone().into_os_string(), kind.into()]);
        let job = Job::new(*kind, words, LIMIT, sections).maps(&["tmpfs=ext4"]);
        if context.short { job.env("SHORT", "1") } else { job }
    });
    Ok(Plan::new(jobs.collect()))
}

/// The program that ends in many ways; static, for containers.
fn crash(context: &Context) -> anyhow::Result<std::path::PathBuf> {
    let program = context.folder.join("crash");
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-static", "-o"]).arg(&program).arg(script("containers/crash.c"));
    run(&mut compile).context("a C compiler, and libc as a static library")?;
    Ok(program)
}

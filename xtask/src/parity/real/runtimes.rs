//! Language runtimes: programs of tests/parity that do what their like do, and the runtimes' own ways to start.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{script, sections};
use crate::parity::readers;
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::run;

const BOTH: &[Place] = &[Place::Linux, Place::Gvisor];
const LIMIT: Duration = Duration::from_secs(180);

pub const SUITES: [Suite; 2] = [
    Suite {
        name: "jvm",
        about: "a Java program (children, threads, file stores, faults, signals), each collector, jshell",
        long: false,
        places: BOTH,
        make: jvm,
    },
    Suite {
        name: "node",
        about: "a Node program (children, workers, files, watchers, signals), and node --test",
        long: false,
        places: BOTH,
        make: node,
    },
];

fn jvm(context: &Context) -> Result<Plan, Missing> {
    let mut compile = Command::new("javac");
    compile.arg("-d").arg(context.folder).arg(script("jvm/Parity.java"));
    run(&mut compile).context("a Java development kit (javac)")?;
    let class_path = context.folder.as_os_str();
    let words = |option: &str| -> [OsString; 5] {
        ["java".into(), option.into(), "-cp".into(), class_path.into(), "Parity".into()]
    };
    let mut plan = Plan::new(vec![Job::new("program", words("-ea"), LIMIT, sections)]);
    let collectors = ["Serial", "Parallel", "G1", "Z", "Shenandoah"].map(|name| format!("-XX:+Use{name}GC"));
    for option in collectors.iter().take(if context.short { 1 } else { 5 }) {
        plan.jobs.push(Job::new(option.clone(), words(option), LIMIT, sections));
    }
    if !context.short {
        let shell = "echo 'System.out.println(6 * 7)' | jshell -s -";
        plan.jobs.push(one("jshell", &["sh", "-c", shell]));
    }
    Ok(plan)
}

fn node(_: &Context) -> Result<Plan, Missing> {
    run(Command::new("node").arg("--version")).context("node")?;
    let words = ["node".into(), script("node/parity.js").into_os_string()];
    let test = "const t = require('node:test'); for (let i = 0; i < 9; i++) t('t' + i, () => require('node:child_process').execSync('true'))";
    let runner = [
        "sh",
        "-c",
        "echo \"$1\" > a.test.js; node --test --test-reporter=tap | grep -c '^ok'; node --test >x; echo $?",
        "sh",
        test,
    ];
    Ok(Plan::new(vec![Job::new("program", words, LIMIT, sections), one("node --test", &runner)]))
}

fn one(name: &str, words: &[&str]) -> Job {
    Job::new(name, words, LIMIT, readers::one_command(name, readers::unchanged))
}

//! CPython's own tests, as Debian packages them (`libpython3.N-testsuite`): all of `os`, processes, signals, threads,
//! sockets, terminals.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::parity::readers;
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::{Cache, run};

/// Far beyond what a module takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);
const BOTH: &[Place] = &[Place::Linux, Place::Gvisor];

const SHORT: &[&str] = &[
    "test_os",
    "test_posix",
    "test_subprocess",
    "test_signal",
    "test_eintr",
    "test_fork1",
    "test_epoll",
    "test_pty",
];
const LONG: &[&str] = &[
    "test_threading",
    "test_multiprocessing_fork",
    "test_multiprocessing_spawn",
    "test_multiprocessing_forkserver",
    "test_asyncio",
    "test_socket",
    "test_io",
    "test_faulthandler",
    "test_selectors",
    "test_poll",
    "test_select",
    "test_wait3",
    "test_wait4",
    "test_threadsignals",
    "test_concurrent_futures",
    "test_mmap",
    "test_fcntl",
    "test_resource",
    "test_shutil",
    "test_tempfile",
    "test_pathlib",
    "test_time",
    "test_ioctl",
    "test_openpty",
    "test_popen",
    "test_pwd",
    "test_posixpath",
    "test_socketserver",
    "test_cmd_line",
    "test_site",
    "test_venv",
];

pub fn suites() -> Vec<Suite> {
    vec![
        Suite {
            name: "cpython-system",
            about: "CPython's tests of os, posix, subprocess, signal, EINTR, fork, epoll, pty",
            long: false,
            places: BOTH,
            make: |context| plan(context, SHORT),
        },
        Suite {
            name: "cpython-more",
            about: "CPython's tests of threads, multiprocessing, asyncio, sockets, io, faulthandler and others",
            long: true,
            places: BOTH,
            make: |context| plan(context, LONG),
        },
    ]
}

fn plan(context: &Context, modules: &[&str]) -> Result<Plan, Missing> {
    let python = interpreter(context.cache)?;
    let mut plan = Plan { together: context.short, ..Plan::new(Vec::new()) };
    for module in modules {
        if !can_import(&python, &format!("test.{module}"))? {
            plan.skipped.push(format!("{module}: not in this Python's test suite"));
            continue;
        }
        let (program, module) = (python.clone(), (*module).to_owned());
        let words = move |only: Option<&str>| {
            let mut words = vec![program.clone().into_os_string()];
            // Nothing on the network, no files of gigabytes.
            words.extend(
                ["-m", "test", "-v", "-u", "all,-network,-urlfetch,-largefile,-gui,-audio"].map(Into::into),
            );
            words.extend(only.into_iter().flat_map(|test| ["-m".into(), test.into()]));
            words.push(module.clone().into());
            words
        };
        let limit = LIMIT;
        let name = words(None).pop().unwrap_or_default().to_string_lossy().into_owned();
        let job = Job::new(name, words(None), limit, readers::unittest)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .again(move |test| words(Some(test)));
        plan.jobs.push(job);
    }
    Ok(plan)
}

/// Debian's, with its test suite installed if need be; or whichever python3 has one.
fn interpreter(cache: &Cache) -> Result<PathBuf> {
    let debian = PathBuf::from("/usr/bin/python3");
    for python in [&debian, &PathBuf::from("python3")] {
        if can_import(python, "test.test_os").unwrap_or(false) {
            // Where PATH has a script in front of it, the interpreter itself.
            let print = "import sys; print(sys.executable)";
            let output = run(Command::new(python).args(["-c", print]))?;
            return Ok(PathBuf::from(String::from_utf8_lossy(&output).trim()));
        }
    }
    let print = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = run(Command::new(&debian).args(["-c", print])).context("no python3")?;
    let package = format!("libpython{}-testsuite", String::from_utf8_lossy(&version).trim());
    cache.debian(&[&package])?;
    Ok(debian)
}

fn can_import(python: &PathBuf, module: &str) -> Result<bool> {
    // Without executing it: some have effects.
    let script = format!("import importlib.util as u, sys; sys.exit(u.find_spec('{module}') is None)");
    Ok(Command::new(python).args(["-c", &script]).output()?.status.success())
}

//! The Go toolchain's own tests of what its programs ask of the kernel: processes, signals, files, the scheduler,
//! sockets. The sources come with the toolchain; each package's test program is built once and run twice.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::parity::readers;
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::{run, step};

/// Far beyond what a module takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);
const BOTH: &[Place] = &[Place::Linux, Place::Gvisor];

/// Packages, and whether `-test.short` is enough in the long form, too: otherwise they take many minutes.
const SYSTEM: &[(&str, bool)] = &[
    ("os", false),
    ("os/exec", false),
    ("os/signal", false),
    ("os/user", false),
    ("syscall", false),
    ("internal/poll", false),
    ("internal/syscall/unix", false),
    ("internal/runtime/cgroup", false),
    ("io/fs", false),
    ("path/filepath", false),
];
/// Those of the short form.
const SHORT: &[&str] = &["os", "os/exec", "os/signal", "syscall", "internal/poll"];
const RUNTIME: &[(&str, bool)] = &[
    ("runtime", true),
    ("runtime/debug", false),
    ("runtime/pprof", true),
    ("runtime/trace", false),
    ("time", true),
];
const NETWORK: &[(&str, bool)] = &[("net", true), ("net/http", true), ("net/http/httptest", true)];

pub fn suites() -> Vec<Suite> {
    vec![
        Suite {
            name: "go-system",
            about: "the Go toolchain's tests of os, os/exec, os/signal, os/user, syscall and what is below them",
            long: false,
            places: BOTH,
            make: |context| plan(context, SYSTEM),
        },
        Suite {
            name: "go-runtime",
            about: "the Go toolchain's tests of runtime, its profiler and tracer, and time",
            long: true,
            places: BOTH,
            make: |context| plan(context, RUNTIME),
        },
        Suite {
            name: "go-net",
            about: "the Go toolchain's tests of net and net/http",
            long: true,
            places: BOTH,
            make: |context| plan(context, NETWORK),
        },
    ]
}

fn plan(context: &Context, packages: &[(&str, bool)]) -> Result<Plan, Missing> {
    let goroot = PathBuf::from(environment("GOROOT").context("Go builds its tests; put `go` on PATH")?);
    let sources = goroot.join("src");
    // The tests build programs, and HOME is another one.
    let cache = environment("GOCACHE")?;
    let mut plan = Plan { together: context.short, ..Plan::new(Vec::new()) };
    let mut chosen = Vec::new();
    for (package, only_short) in packages {
        if !has_tests(&sources.join(package)) {
            plan.skipped.push(format!("{package}: not among this toolchain's sources"));
        } else if !context.short || SHORT.contains(package) {
            chosen.push((*package, *only_short));
        }
    }
    step("go test -c", || {
        let mut go = Command::new("go");
        go.current_dir(&sources).args(["test", "-c", "-o"]).arg(format!("{}/", context.folder.display()));
        run(go.args(chosen.iter().map(|(package, _)| package)))
    })?;
    for (package, only_short) in chosen {
        let last = package.rsplit('/').next().unwrap_or(package);
        let program = context.folder.join(format!("{last}.test"));
        let (short, skip) = (context.short || only_short, context.short && package == "os");
        let words = move |pattern: Option<String>| {
            let mut words = vec![program.clone().into_os_string()];
            words.extend(["-test.v=test2json", "-test.paniconexit0", "-test.timeout=0"].map(Into::into));
            words.extend(short.then(|| "-test.short".into()));
            // Thousands of combinations of renames.
            words.extend(skip.then(|| "-test.skip=^TestRoot".into()));
            words.extend(pattern.map(|pattern| format!("-test.run={pattern}").into()));
            words
        };
        let limit = LIMIT;
        let mut job = Job::new(package, words(None), limit, readers::go_test)
            .env("GOCACHE", &cache)
            .env("GOROOT", goroot.as_os_str())
            .env("GOTOOLCHAIN", "local")
            .env("GOPROXY", "off")
            .again(move |test| words(Some(pattern(test))));
        // Test data is found from there.
        job.folder = Some(sources.join(package));
        plan.jobs.push(job);
    }
    Ok(plan)
}

fn environment(name: &str) -> Result<String> {
    let output = run(Command::new("go").args(["env", name]))?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}

fn has_tests(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with("_test.go"))
}

/// A pattern for one test only: each level between anchors.
fn pattern(test: &str) -> String {
    let level = |name: &str| {
        let escaped: String = name
            .chars()
            .flat_map(|c| {
                (!c.is_alphanumeric() && c != '_' && c.is_ascii()).then_some('\\').into_iter().chain([c])
            })
            .collect();
        format!("^{escaped}$")
    };
    test.split('/').map(level).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_one_test() {
        assert_eq!(pattern("TestA/b.c#01"), r"^TestA$/^b\.c\#01$");
    }
}

//! The tests of Go packages that read mount tables in earnest, as container engines and the kubelet have them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::script;
use crate::parity::readers;
use crate::parity::suite::{Context, Job, Missing, Place, Plan, Suite};
use crate::tools::{run, step};

/// A package, and what its test program is given.
const PACKAGES: &[(&str, &[&str])] = &[
    ("github.com/moby/sys/mountinfo", &[]),
    ("github.com/moby/sys/mount", &[]),
    ("k8s.io/mount-utils", &[]),
    ("github.com/containerd/containerd/v2/core/mount", &["-test.root"]),
    ("github.com/google/cadvisor/fs", &[]),
];

pub const SUITE: Suite = Suite {
    name: "table-readers",
    about: "the tests of moby's, Kubernetes' and containerd's mount packages, and cAdvisor's fs",
    long: false,
    places: &[Place::Linux, Place::Gvisor],
    make: plan,
};

fn plan(context: &Context) -> Result<Plan, Missing> {
    let module = script("readers");
    let mut plan = Plan::new(Vec::new());
    for (package, arguments) in PACKAGES {
        let name = package.replace('/', "-");
        let program = context.folder.join(format!("{name}.test"));
        let sources = step(&format!("go test -c {package}"), || {
            let mut go = Command::new("go");
            go.current_dir(&module).args(["test", "-c", "-o"]).arg(&program).arg(package);
            run(&mut go).context("Go builds these tests; put `go` on PATH")?;
            let mut list = Command::new("go");
            list.current_dir(&module).args(["list", "-test=false", "-f", "{{.Dir}}", package]);
            Ok(PathBuf::from(String::from_utf8_lossy(&run(&mut list)?).trim()))
        })?;
        let copy = context.folder.join(name);
        copied(&sources, &copy)?;
        let words = move |pattern: Option<&str>| {
            let mut words = vec![program.clone().into_os_string(), "-test.v=test2json".into()];
            words.extend(arguments.iter().map(Into::into));
            // A test with its subtests.
            words.extend(pattern.map(|test| {
                let top = test.split('/').next().unwrap_or(test);
                format!("-test.run=^{top}$").into()
            }));
            words
        };
        let job = Job::new(*package, words(None), Duration::from_secs(180), readers::go_test)
            .fill(move |folder| copied(&copy, folder))
            .again(move |test| words(Some(test)));
        plan.jobs.push(match context.place {
            // Types of what the tests themselves mount.
            Place::Linux => job.maps(&["tmpfs=ext4"]),
            Place::Gvisor => job,
        });
    }
    Ok(plan)
}

/// The package's folder, writable: tests look for their data where they run.
fn copied(from: &Path, to: &Path) -> anyhow::Result<()> {
    const COPY: &str = r#"mkdir -p "$2" && cp -r --no-preserve=mode "$1/." "$2""#;
    run(Command::new("sh").args(["-c", COPY, "sh"]).args([from, to]))?;
    Ok(())
}

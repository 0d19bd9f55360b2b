//! What the kubelet asks cAdvisor for before it starts anything, in every gVisor: also in that of 2022, where no pod can
//! run (docs/doctor.md).

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bundle::Bundle;
use super::report::{Report, Row};
use super::setup::Cgroup;
use super::spec::runsc_flags;
use crate::tools::{Cache, run};

/// As `node cadvisor` prints it.
#[derive(Deserialize)]
struct Figures {
    cores: u64,
    memory: u64,
    device: String,
    /// In bytes.
    capacity: u64,
    available: u64,
}

/// gVisor of 2022 mounts no cgroups by itself. The node's machine-id is on a root that it may not write to.
const SCRIPT: &str = r#"
if ! [ -e /sys/fs/cgroup/cpu ]; then
    mount -t tmpfs cgroups /sys/fs/cgroup
    for name in cpu cpuacct memory cpuset; do
        mkdir /sys/fs/cgroup/$name
        mount -t cgroup -o $name $name /sys/fs/cgroup/$name
    done
fi
node cadvisor /var/lib/kubelet 2>&1 | tail -n 1
fsmasq -- node cadvisor /var/lib/kubelet 2> /dev/null
df -k /var/lib/kubelet | tail -n 1
"#;

/// A row for each gVisor.
pub fn rows(bundle: &Bundle) -> Result<Report> {
    let mut report = Report::new("cAdvisor as the kubelet starts it, cgroup v1".to_owned());
    let old = Cache::open()?.old_runsc()?;
    let today = bundle.programs().runsc.clone();
    let ptrace: Vec<&str> = runsc_flags(Cgroup::V1)
        .into_iter()
        .map(|flag| if flag.starts_with("--platform=") { "--platform=ptrace" } else { flag })
        .collect();
    let of_2022 = vec!["--platform=ptrace", "--network=none", "--ignore-cgroups"];
    for (name, runsc, flags) in [
        ("gVisor, platform systrap", &today, runsc_flags(Cgroup::V1)),
        ("gVisor, platform ptrace", &today, ptrace),
        ("gVisor of 2022", &old, of_2022),
    ] {
        let mut command = Command::new("unshare");
        // It mounts; this machine's own table must stay as it is.
        command.args(["--mount", "--"]).arg(runsc);
        report.push(match one(bundle, command, &flags) {
            Ok(seen) => Row::passed(name, seen, Duration::ZERO),
            Err(error) => Row::failed(name, &error),
        });
    }
    Ok(report)
}

fn one(bundle: &Bundle, mut runsc: Command, flags: &[&str]) -> Result<String> {
    let path = bundle.folder().join("config.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut specification: Value = serde_json::from_str(&text)?;
    specification["process"]["args"] = json!(["sh", "-c", SCRIPT]);
    fs::write(&path, specification.to_string())?;
    let state = bundle.folder().join("cadvisor");
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::create_dir(&state)?;
    runsc
        .arg("--root")
        .arg(&state)
        .args(flags)
        .args(["run", "--bundle"])
        .arg(bundle.folder())
        .arg("cadvisor");
    let output = run(runsc.stdin(Stdio::null()))?;
    let said = String::from_utf8_lossy(&output).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let [bare, below, df] = lines.as_slice() else { bail!("it said {said:?}") };
    if !bare.contains("could not find device in cached partitions map") {
        bail!("bare: {bare}");
    }
    let figures: Figures = serde_json::from_str(below).with_context(|| format!("below: {below}"))?;
    let capacity: u64 = df.split_whitespace().nth(1).context("df says no size")?.parse()?;
    let is_right = figures.capacity == capacity * 1024
        && figures.available > 0
        && figures.cores > 0
        && figures.memory > 0
        && figures.device.starts_with("/dev/");
    if !is_right {
        bail!("below: {below}; df: {df}");
    }
    let gibibytes = figures.capacity >> 30;
    Ok(format!("bare: no figures of its folder; below: {}, {gibibytes} GiB, as df says", figures.device))
}

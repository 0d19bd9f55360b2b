//! Control groups: their version, controllers, and the files by which the kubelet knows what pods use.

use super::files::{self, State};
use super::finding::{Area, Finding, NO_PROC, Verdict};
use super::machine::Machine;
use crate::rewrite::mount_table::{Mount, unescape};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The kubelet exits without these; runc without `devices`.
const NEEDED_V1: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "devices"];
const NEEDED_V2: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

struct GroupFile {
    controller: &'static str,
    name: &'static str,
    why: &'static str,
}

const MEMORY: &str = "the kubelet's figures of memory";

const FILES_V1: &[GroupFile] = &[
    GroupFile {
        controller: "cpuacct",
        name: "cpuacct.usage_percpu",
        why: "without it cAdvisor drops all figures",
    },
    GroupFile { controller: "memory", name: "memory.stat", why: MEMORY },
    GroupFile { controller: "memory", name: "memory.max_usage_in_bytes", why: MEMORY },
    GroupFile { controller: "memory", name: "memory.failcnt", why: MEMORY },
    GroupFile { controller: "memory", name: "memory.use_hierarchy", why: MEMORY },
];

const FILES_V2: &[GroupFile] = &[
    GroupFile { controller: "memory", name: "memory.oom.group", why: "the kubelet has runc write it" },
    GroupFile { controller: "memory", name: "memory.stat", why: MEMORY },
];

/// A mounted hierarchy.
struct Hierarchy {
    place: PathBuf,
    /// Of v1.
    controllers: Vec<String>,
    is_v2: bool,
}

impl Hierarchy {
    fn of(mount: &Mount) -> Option<Hierarchy> {
        let place = PathBuf::from(OsString::from_vec(unescape(mount.mount_point)));
        let is_v2 = match mount.fstype {
            b"cgroup2" => true,
            b"cgroup" => false,
            _ => return None,
        };
        // By custom the folder is called after its controllers.
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Some(Hierarchy { controllers: name.split(',').map(str::to_owned).collect(), place, is_v2 })
    }
}

pub fn findings(machine: &Machine) -> Vec<Finding> {
    if machine.mounts().is_empty() {
        return vec![finding(
            "version",
            NO_PROC,
            Verdict::Unknown,
            "the kubelet and runc put each pod into one",
        )];
    }
    let hierarchies: Vec<Hierarchy> = machine.mounts().iter().filter_map(Hierarchy::of).collect();
    let unified = hierarchies.iter().find(|one| one.is_v2 && one.place == Path::new("/sys/fs/cgroup"));
    let v1: Vec<&Hierarchy> = hierarchies.iter().filter(|one| !one.is_v2).collect();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    match (unified, v1.as_slice()) {
        (Some(unified), _) => version_2(machine, unified, &own),
        (None, []) => vec![none(machine)],
        (None, v1) => version_1(machine, v1, &own),
    }
}

fn finding(what: &str, seen: impl Into<String>, verdict: Verdict, why: &str) -> Finding {
    Finding::new(Area::Cgroups, what, seen, verdict, why)
}

fn none(machine: &Machine) -> Finding {
    let line = if machine.is_gvisor {
        "in the OCI config a mount of type cgroup at /sys/fs/cgroup; an older runsc: --cgroupfs too"
    } else {
        "mount -t cgroup2 none /sys/fs/cgroup"
    };
    finding("version", "none mounted", Verdict::first(line), "the kubelet and runc put each pod into one")
}

fn version_1(machine: &Machine, hierarchies: &[&Hierarchy], own: &str) -> Vec<Finding> {
    let of = |name: &str| hierarchies.iter().find(|one| one.controllers.iter().any(|c| c == name)).copied();
    let missing: Vec<&str> = NEEDED_V1.into_iter().filter(|name| of(name).is_none()).collect();
    let why = "the kubelet and runc insist on them";
    let mut findings = vec![finding("version", "v1", Verdict::Fine, "Kubernetes still takes it")];
    let seen = if missing.is_empty() {
        "all that are needed".into()
    } else {
        format!("missing: {}", missing.join(" "))
    };
    findings.push(finding("controllers", seen, to_mount(machine, &missing), why));
    findings.extend(hierarchies.iter().find_map(|one| read_only(machine, &one.place)));
    for file in FILES_V1 {
        if let Some(hierarchy) = of(file.controller) {
            findings.push(file_of(machine, file, &hierarchy.place));
        }
    }
    if let Some(memory) = of("memory") {
        findings.push(own_group(&memory.place, own));
    }
    findings
}

fn to_mount(machine: &Machine, missing: &[&str]) -> Verdict {
    if missing.is_empty() {
        Verdict::Fine
    } else if machine.is_gvisor && missing.contains(&"devices") {
        Verdict::first("a gVisor of today (that of 2022 has no `devices`, which runc insists on)")
    } else {
        let names = missing.join(" ");
        Verdict::first(format!(
            "cd /sys/fs/cgroup; for c in {names}; do mkdir -p $c; mount -t cgroup -o $c none $c; done"
        ))
    }
}

/// A sandbox may name a group of its own that is not below the mounts.
fn own_group(place: &Path, own: &str) -> Finding {
    const WHY: &str = "cAdvisor logs errors where it is not there";
    let path = own_path(own, "memory").unwrap_or("/");
    if place.join(path.trim_start_matches('/')).is_dir() {
        return finding("own group", path, Verdict::Fine, WHY);
    }
    let flag = Verdict::arguments(&["--kubelet-arg=kubelet-cgroups=/kubelet"]);
    finding("own group", format!("{path}, not there"), flag, WHY)
}

/// The path of a controller's group in /proc/PID/cgroup; of v2's with an empty name.
fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

fn version_2(machine: &Machine, unified: &Hierarchy, own: &str) -> Vec<Finding> {
    let controllers = fs::read_to_string(unified.place.join("cgroup.controllers")).unwrap_or_default();
    let missing: Vec<&str> =
        NEEDED_V2.into_iter().filter(|name| !controllers.split_whitespace().any(|c| c == *name)).collect();
    let (seen, verdict) = match missing.as_slice() {
        [] => ("all that are needed".into(), Verdict::Fine),
        missing => (
            format!("missing: {}", missing.join(" ")),
            Verdict::first(
                "a kernel with them, and none mounted as v1 (cgroup_no_v1=all on its command line)",
            ),
        ),
    };
    let mut findings = vec![
        finding("version", "v2", Verdict::Fine, "what Kubernetes is developed with"),
        finding("controllers", seen, verdict, "the kubelet and runc insist on them"),
    ];
    findings.extend(read_only(machine, &unified.place));
    match group_with_memory(&unified.place, own) {
        Some(group) => findings.extend(FILES_V2.iter().map(|file| file_of(machine, file, &group))),
        None => findings.push(finding("files of a group", "no group to look at", Verdict::Unknown, MEMORY)),
    }
    findings
}

/// Not the root's: Linux's has no limits.
fn group_with_memory(place: &Path, own: &str) -> Option<PathBuf> {
    let own = own_path(own, "").map(|path| place.join(path.trim_start_matches('/')));
    let children = fs::read_dir(place).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    own.into_iter()
        .chain(children)
        .find(|group| group != place && group.join("memory.current").exists())
        .or_else(|| place.join("memory.current").exists().then(|| place.to_owned()))
}

fn read_only(machine: &Machine, place: &Path) -> Option<Finding> {
    let flags = statvfs(place).ok()?.flags();
    let line = if machine.is_gvisor {
        "in the OCI config, mount /sys/fs/cgroup with the option rw"
    } else {
        "docker run --privileged --cgroupns=private"
    };
    flags.contains(FsFlags::ST_RDONLY).then(|| {
        finding("mount", "read-only", Verdict::first(line), "the kubelet makes a group for each pod")
    })
}

fn file_of(machine: &Machine, file: &GroupFile, group: &Path) -> Finding {
    let path = group.join(file.name);
    let (state, seen) = if path.exists() { (State::Works, "there") } else { (State::Missing, "missing") };
    finding(file.name, seen, files::verdict(machine, &path, state), file.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_by_its_controller() {
        let own = "12:cpu,cpuacct:/a\n4:memory:/d:1\n1:name=systemd:/x\n0::/unified\n";
        assert_eq!(own_path(own, "cpuacct"), Some("/a"));
        assert_eq!(own_path(own, "memory"), Some("/d:1"));
        assert_eq!(own_path(own, ""), Some("/unified"));
        assert_eq!(own_path(own, "pids"), None);
    }
}

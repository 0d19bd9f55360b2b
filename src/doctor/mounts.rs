//! File systems: what the kubelet's and containerd's directories are on, and what cAdvisor makes of it.

use super::finding::{Area, Finding, Verdict};
use super::machine::Machine;
use super::partitions::{devices, is_known};
use crate::rewrite::mount_table::{Device, Mount, unescape};
use crate::rules::{Mapping, Rules};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directories of a node's whose file systems the kubelet asks cAdvisor about.
const DIRECTORIES: [(&str, &str); 4] = [
    ("/", "cAdvisor sums up its usage"),
    ("/var/lib/kubelet", "the kubelet asks for its usage"),
    ("/var/lib/containerd", "usage of images"),
    ("/var/lib/rancher", "usage of k3s's images"),
];

pub fn findings(machine: &Machine) -> Vec<Finding> {
    let mounts = machine.mounts();
    if mounts.is_empty() {
        return vec![Finding::new(
            Area::Mounts,
            "/proc",
            "no /proc/self/mountinfo",
            Verdict::first("mount -t proc proc /proc"),
            "neither fsmasq nor a node can do without the table of mounts",
        )];
    }
    let mut findings = vec![ninep(machine, &mounts)];
    findings.extend(DIRECTORIES.iter().map(|(path, why)| directory(machine, &mounts, Path::new(path), why)));
    findings.push(run_link());
    findings
}

/// The mounts that fsmasq is for; and whether each device has a source of its own.
fn ninep(machine: &Machine, mounts: &[Mount]) -> Finding {
    let of_it = || mounts.iter().filter(|mount| mount.fstype == b"9p");
    let places: Vec<String> =
        of_it().map(|mount| String::from_utf8_lossy(&unescape(mount.mount_point)).into_owned()).collect();
    let shared = of_it().any(|one| {
        of_it().any(|other| one.source == other.source && one.device != other.device) || one.source == b"none"
    });
    let masked = of_it().any(|mount| machine.rules.for_mount(mount).is_some());
    let seen = match places.as_slice() {
        [] => "none".into(),
        places if shared => format!("{} (sources not unique)", places.join(" ")),
        places => places.join(" "),
    };
    let verdict = if masked { Verdict::Fsmasq } else { Verdict::Fine };
    Finding::new(Area::Mounts, "9p mounts", seen, verdict, "below fsmasq they are ext4")
}

fn directory(machine: &Machine, mounts: &[Mount], path: &Path, why: &str) -> Finding {
    let what = path.display().to_string();
    let found = existing(path);
    let device = fs::metadata(&found).map(|data| device_of(data.dev()));
    let (Ok(device), Some(mount)) = (device, mount_of(mounts, &found)) else {
        return Finding::new(Area::Mounts, what, "can't be looked at", Verdict::Unknown, why);
    };
    let seen = format!(
        "{} at {}, source {}, {}:{}",
        String::from_utf8_lossy(mount.fstype),
        String::from_utf8_lossy(&unescape(mount.mount_point)),
        String::from_utf8_lossy(mount.source),
        device.major,
        device.minor,
    );
    Finding::new(Area::Mounts, what, seen, verdict(machine, mounts, mount, device), why)
}

/// Who makes cAdvisor find the device among the partitions.
fn verdict(machine: &Machine, mounts: &[Mount], mount: &Mount, device: Device) -> Verdict {
    let finds = |rules: Option<&Rules>| devices(mounts, rules).contains(&device);
    if mount.device != Some(device) {
        return Verdict::first("put it on a mount of its own: --volume DIRECTORY:DIRECTORY");
    }
    if finds(None) {
        return Verdict::Fine;
    }
    if finds(Some(machine.rules)) {
        return Verdict::Fsmasq;
    }
    let mut options: Vec<String> = Vec::new();
    let mut rules = machine.rules.clone();
    if machine.rules.for_mount(mount).is_none() && !is_known(mount.fstype) {
        let fstype = String::from_utf8_lossy(mount.fstype);
        match format!("{fstype}=ext4").parse::<Mapping>() {
            Ok(mapping) if machine.rules.for_fstype(mount.fstype).is_none() => {
                options.extend(["--map".into(), format!("{fstype}=ext4")]);
                rules.mappings.push(mapping);
            }
            Ok(_) => {
                let place = unescape(mount.mount_point);
                options.extend(["--only".into(), String::from_utf8_lossy(&place).into_owned()]);
                rules.scope = Default::default();
            }
            Err(_) => {
                return Verdict::first("put it on a disk, or on a file system that fsmasq can show as ext4");
            }
        }
    }
    if !finds(Some(&rules)) {
        rules.profile = machine.rules_with_gvisor().profile;
        options.extend(["--profile".into(), "gvisor".into()]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    if finds(Some(&rules)) {
        Verdict::options(&options)
    } else {
        Verdict::first("put it on a file system whose source in /proc/self/mountinfo is its own")
    }
}

/// The path, or its nearest parent that is there; without links.
pub fn existing(path: &Path) -> PathBuf {
    path.ancestors().find_map(|path| fs::canonicalize(path).ok()).unwrap_or_else(|| PathBuf::from("/"))
}

/// The mount that `path`, absolute and without links, is on: the longest mount point, the last of those on one.
fn mount_of<'a, 'b>(mounts: &'b [Mount<'a>], path: &Path) -> Option<&'b Mount<'a>> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(OsStr::from_bytes(&unescape(mount.mount_point))))
        .max_by_key(|mount| unescape(mount.mount_point).len())
}

fn device_of(number: u64) -> Device {
    Device { major: libc::major(number), minor: libc::minor(number) }
}

/// containerd and iproute2 find the namespaces of pods by different names.
fn run_link() -> Finding {
    const WHY: &str = "iproute2 and containerd look in either";
    let real: BTreeSet<PathBuf> =
        ["/run", "/var/run"].iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    match real.len() {
        1 if Path::new("/var/run").exists() => {
            Finding::new(Area::Mounts, "/var/run", "the same as /run", Verdict::Fine, WHY)
        }
        _ => {
            let line = "rm -rf /var/run && ln -s /run /var/run";
            let line = if Path::new("/var/run").exists() { line } else { "ln -s /run /var/run" };
            Finding::new(Area::Mounts, "/var/run", "not the same as /run", Verdict::better(line), WHY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::mount_table::{Format, mounts};

    #[test]
    fn the_last_of_the_longest_mount_points_counts() {
        let table = b"1 0 0:1 / / rw - 9p none rw\n2 1 0:2 / /var/lib rw - 9p a rw\n\
            3 1 0:3 / /var/lib rw - xfs b rw\n4 1 0:4 / /var/li rw - xfs c rw\n";
        let mounts: Vec<_> = mounts(Format::Mountinfo, table).collect();
        let at = |path: &str| mount_of(&mounts, Path::new(path)).and_then(|mount| mount.id);
        assert_eq!((at("/var/lib/kubelet"), at("/var/library"), at("/")), (Some(3), Some(1), Some(1)));
    }

    #[test]
    fn a_path_that_is_not_there_is_looked_for_above() {
        assert_eq!(existing(Path::new("/no/such/path")), Path::new("/"));
    }
}

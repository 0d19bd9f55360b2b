//! What containerd and runc do to start a container, one by one.

use super::child;
use super::finding::{Area, Finding, ONLY_ROOT, Verdict, text_of};
use super::machine::Machine;
use super::mounts::existing;
use super::trial::{Ground, own_mounts};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::mkdtemp;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Namespaces of a pod.
const NAMESPACES: [(&str, CloneFlags); 4] = [
    ("pid", CloneFlags::CLONE_NEWPID),
    ("net", CloneFlags::CLONE_NEWNET),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
];

pub fn findings(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![pidfd(), joining(machine)];
    if !machine.is_root {
        findings.push(only_root("mounts and namespaces"));
        return findings;
    }
    findings.push(namespaces(machine));
    // An mqueue is of this one; where it is refused, that was just said.
    let _ = unshare(CloneFlags::CLONE_NEWIPC);
    let ground = own_mounts().and_then(|()| Ground::new());
    findings.push(Finding::of_try(
        Area::Containers,
        "mount namespaces",
        ground.as_ref().map(drop).map_err(|errno| *errno),
        remedy(machine),
        "otherwise a container's mounts are everybody's",
    ));
    findings.extend(TRIALS.iter().map(|trial| trial.finding(machine, ground.as_ref().ok())));
    findings
}

fn only_root(what: &str) -> Finding {
    Finding::new(Area::Containers, what, ONLY_ROOT, Verdict::Unknown, "runc makes them for each container")
}

/// Where the kernel refuses what containers are made of.
fn remedy(machine: &Machine) -> Verdict {
    Verdict::first(if machine.is_gvisor {
        "a gVisor of today (that of 2022 lacks it): https://gvisor.dev/docs/user_guide/install/"
    } else {
        "a sandbox with more privilege: docker run --privileged, or a virtual machine"
    })
}

fn pidfd() -> Finding {
    // SAFETY: no pointers; there is no process 0.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, 0, 0) };
    let (seen, verdict) = match Errno::result(answer) {
        Err(Errno::ENOSYS) => ("missing", Verdict::Fine),
        _ => ("there", Verdict::Fine),
    };
    Finding::new(
        Area::Containers,
        "pidfd_open",
        seen,
        verdict,
        "containerd logs an error without, and goes on",
    )
}

fn joining(machine: &Machine) -> Finding {
    // SAFETY: no pointers; there is no descriptor -1.
    let answer = unsafe { libc::syscall(libc::SYS_setns, -1, 0) };
    let tried = match Errno::result(answer) {
        Err(errno @ (Errno::ENOSYS | Errno::EOPNOTSUPP)) => Err(errno),
        // It looks at the descriptor, or at privileges, so it is there.
        _ => Ok(()),
    };
    let why = "the containers of a pod share by it";
    Finding::of_try(Area::Containers, "setns", tried, remedy(machine), why)
}

fn namespaces(machine: &Machine) -> Finding {
    let limit = Duration::from_secs(2);
    let refused: Vec<&str> = NAMESPACES
        .iter()
        .filter(|(_, flag)| child::ask(limit, || unshare(*flag).is_ok()) != Ok(true))
        .map(|(name, _)| *name)
        .collect();
    let why = "each pod has its own";
    match refused.as_slice() {
        [] => Finding::new(Area::Containers, "namespaces", "pid, net, ipc, uts", Verdict::Fine, why),
        refused => {
            let seen = format!("refused: {}", refused.join(" "));
            Finding::new(Area::Containers, "namespaces", seen, remedy(machine), why)
        }
    }
}

/// A mount that containers are made of.
struct Trial {
    what: &'static str,
    why: &'static str,
    from: Option<&'static str>,
    fstype: Option<&'static str>,
    flags: MsFlags,
    data: Option<&'static str>,
    /// What has to be mounted before.
    is_remount: bool,
}

const TRIALS: [Trial; 5] = [
    Trial {
        what: "recursive bind mounts",
        why: "containers' roots and volumes are made by them",
        from: Some("from"),
        fstype: None,
        flags: MsFlags::MS_BIND.union(MsFlags::MS_REC),
        data: None,
        is_remount: false,
    },
    Trial {
        what: "mount propagation",
        why: "runc makes a container's mounts slaves",
        from: None,
        fstype: None,
        flags: MsFlags::MS_SLAVE.union(MsFlags::MS_REC),
        data: None,
        is_remount: true,
    },
    Trial {
        what: "read-only remounts",
        why: "configuration and secrets are mounted so",
        from: None,
        fstype: None,
        flags: MsFlags::MS_BIND.union(MsFlags::MS_REMOUNT).union(MsFlags::MS_RDONLY),
        data: None,
        is_remount: true,
    },
    Trial {
        what: "devpts of its own",
        why: "each container has one",
        from: Some("devpts"),
        fstype: Some("devpts"),
        flags: MsFlags::empty(),
        data: Some("newinstance,ptmxmode=0666,mode=0620"),
        is_remount: false,
    },
    Trial {
        what: "mqueue",
        why: "each container has one",
        from: Some("mqueue"),
        fstype: Some("mqueue"),
        flags: MsFlags::empty(),
        data: None,
        is_remount: false,
    },
];

impl Trial {
    fn finding(&self, machine: &Machine, ground: Option<&Ground>) -> Finding {
        // At no place at all it can only be refused: for what it is, or for the place. That much is asked of everybody.
        let nowhere = Path::new("/proc/fsmasq-doctor/no-such-place");
        let tried = match (self.mount(nowhere, nowhere), ground) {
            (Err(Errno::ENOENT), Some(ground)) => self.on(ground),
            (Err(Errno::ENOENT), None) => Ok(()),
            (answer, _) => answer,
        };
        Finding::of_try(Area::Containers, self.what, tried, remedy(machine), self.why)
    }

    fn on(&self, ground: &Ground) -> nix::Result<()> {
        let (from, to) = (ground.folder("from")?, ground.folder("to")?);
        if self.is_remount {
            mount(Some(&from), &to, NO_TYPE, MsFlags::MS_BIND, NO_TYPE)?;
        }
        self.mount(&from, &to)
    }

    fn mount(&self, from: &Path, to: &Path) -> nix::Result<()> {
        mount(self.from.map(|_| from), to, self.fstype, self.flags, self.data)
    }
}

const NO_TYPE: Option<&str> = None;

/// Whether containerd's default snapshotter works where k3s has its images.
pub fn overlay(machine: &Machine) -> Vec<Finding> {
    const WHY: &str = "for overlayfs, the default snapshotter";
    const WHAT: &str = "overlay";
    if !machine.is_root {
        return vec![only_root(WHAT)];
    }
    let finding = |seen: String, verdict| vec![Finding::new(Area::Containers, WHAT, seen, verdict, WHY)];
    let folder = match Folder::make(&existing(Path::new("/var/lib/rancher/k3s/agent"))) {
        Ok(folder) => folder,
        Err(error) => return finding(format!("not tried: {error}"), Verdict::Unknown),
    };
    // The folder is taken away whatever happens to who mounts.
    let tried = child::ask(Duration::from_secs(5), || {
        let mounted = own_mounts().and_then(|()| folder.mount_overlay());
        mounted.map_err(|errno| errno as i32)
    });
    match tried {
        Ok(Ok(())) => finding("works".into(), Verdict::Fine),
        Ok(Err(libc::ENOSYS)) => {
            finding("not tried: no mount namespace".into(), Verdict::arguments(&["--snapshotter=native"]))
        }
        Ok(Err(errno)) => {
            let flag = Verdict::arguments(&["--snapshotter=native"]);
            finding(text_of(Errno::from_raw(errno)), flag)
        }
        Err(why) => finding(why.to_string(), Verdict::arguments(&["--snapshotter=native"])),
    }
}

/// An empty folder, with those that an overlay is made of; gone at the end.
struct Folder(PathBuf);

const PARTS: [&str; 4] = ["lower", "upper", "work", "merged"];

impl Folder {
    /// On the file system of `near`, and in the usual place for such things where that is on it, too.
    fn make(near: &Path) -> std::io::Result<Folder> {
        let device = |path: &Path| fs::metadata(path).map(|data| data.dev()).ok();
        let usual = std::env::temp_dir();
        let parent = if device(&usual) == device(near) { &usual } else { near };
        let folder = Folder(mkdtemp(&parent.join(".fsmasq-doctor-XXXXXX"))?);
        for part in PARTS {
            fs::create_dir(folder.0.join(part))?;
        }
        Ok(folder)
    }

    fn mount_overlay(&self) -> nix::Result<()> {
        let at = |part: &str| self.0.join(part);
        let [lower, upper, work, merged] = PARTS.map(at);
        let (lower, upper, work) = (lower.display(), upper.display(), work.display());
        let data = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let overlay = Some(Path::new("overlay"));
        mount(overlay, &merged, Some("overlay"), MsFlags::empty(), Some(data.as_str()))?;
        // Some take the mount, and no file.
        fs::create_dir(merged.join("x"))
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Only what was made here: never a tree.
        for part in ["upper/x", "work/work", "work/index", "lower", "upper", "work", "merged", ""] {
            let _ = fs::remove_dir(self.0.join(part));
        }
    }
}

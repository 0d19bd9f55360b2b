//! Files of the kernel that a node reads and writes, and whether the profile supplies those that are missing.

use super::finding::{Area, Finding, NO_PROC, Verdict, text_of};
use super::machine::Machine;
use super::trial::own_network;
use crate::rules::Profile;
use crate::rules::profile::{FileRule, Supply, When};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    /// Written unless it says this already.
    Want(&'static str),
    /// Written in the network namespace of a pod.
    Write,
}

struct Parameter {
    path: &'static str,
    used: Use,
    why: &'static str,
}

const PARAMETERS: &[Parameter] = &[
    Parameter { path: "/dev/kmsg", used: Use::Read, why: "the kubelet opens it, and exits without" },
    kubelet("/proc/sys/vm/overcommit_memory", "1"),
    kubelet("/proc/sys/vm/panic_on_oom", "0"),
    kubelet("/proc/sys/kernel/panic", "10"),
    kubelet("/proc/sys/kernel/panic_on_oops", "1"),
    kubelet("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    kubelet("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
    Parameter {
        path: "/proc/sys/net/ipv4/ip_forward",
        used: Use::Want("1"),
        why: "pods' packets are forwarded",
    },
    Parameter {
        path: "/proc/sys/net/ipv4/conf/all/route_localnet",
        used: Use::Want("1"),
        why: "kube-proxy insists on writing it",
    },
    containerd("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
    containerd("/proc/sys/net/ipv4/ping_group_range"),
];

const fn kubelet(path: &'static str, wanted: &'static str) -> Parameter {
    Parameter { path, used: Use::Want(wanted), why: "the kubelet insists on writing it" }
}

const fn containerd(path: &'static str) -> Parameter {
    Parameter { path, used: Use::Write, why: "containerd writes it for each pod" }
}

/// What became of a file's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Works,
    Missing,
    /// It can't be written, for this reason.
    Refused(i32),
    /// Only a trial by root would tell.
    NeedsRoot,
    /// Nothing of the kind is there to look at.
    NoProc,
}

pub fn parameters(machine: &Machine) -> Vec<Finding> {
    PARAMETERS
        .iter()
        .map(|parameter| {
            if parameter.used == Use::Write {
                // It is the pod's own file. Where this is refused, that is said elsewhere.
                let _ = own_network();
            }
            let state = state(machine, parameter);
            let verdict = verdict(machine, Path::new(parameter.path), state);
            Finding::new(Area::Files, short(parameter.path), seen(state), verdict, parameter.why)
        })
        .collect()
}

/// A parameter by the name that sysctl(8) has for it.
fn short(path: &str) -> String {
    path.strip_prefix("/proc/sys/").map_or_else(|| path.to_owned(), |name| name.replace('/', "."))
}

fn state(machine: &Machine, parameter: &Parameter) -> State {
    let path = Path::new(parameter.path);
    if !path.exists() {
        let no_proc = path.starts_with("/proc") && !Path::new("/proc/sys").exists();
        return if no_proc { State::NoProc } else { State::Missing };
    }
    if parameter.used == Use::Read {
        // Without waiting for anything that the log will say.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        return opened.map_or_else(|error| refused(machine, &error), |_| State::Works);
    }
    let content = fs::read(path).unwrap_or_default();
    if let Use::Want(wanted) = parameter.used
        && content.trim_ascii() == wanted.as_bytes()
    {
        return State::Works;
    }
    match OpenOptions::new().write(true).open(path) {
        // What stands there is written back, only where an open says nothing.
        Ok(mut file) if machine.is_gvisor => {
            file.write_all(&content).map_or_else(|error| refused(machine, &error), |()| State::Works)
        }
        Ok(_) => State::Works,
        Err(error) => refused(machine, &error),
    }
}

fn refused(machine: &Machine, error: &std::io::Error) -> State {
    match error.raw_os_error().unwrap_or(libc::EIO) {
        libc::EACCES | libc::EPERM if !machine.is_root => State::NeedsRoot,
        errno => State::Refused(errno),
    }
}

fn seen(state: State) -> String {
    match state {
        State::Works => "there".into(),
        State::Missing => "missing".into(),
        State::Refused(errno) => format!("refused ({})", text_of(nix::Error::from_raw(errno))),
        State::NeedsRoot => "there; only root can try it".into(),
        State::NoProc => NO_PROC.into(),
    }
}

/// Who sees to it that a file can be used.
pub fn verdict(machine: &Machine, path: &Path, state: State) -> Verdict {
    match state {
        State::Works => Verdict::Fine,
        State::NeedsRoot | State::NoProc => Verdict::Unknown,
        State::Missing | State::Refused(_) if supplied(&machine.rules.profile, path, state) => {
            Verdict::Fsmasq
        }
        State::Missing | State::Refused(_) if supplied(&Profile::gvisor(), path, state) => {
            Verdict::options(&["--profile", "gvisor"])
        }
        State::Refused(libc::EROFS) => Verdict::first("mount -o remount,rw /proc/sys"),
        State::Missing | State::Refused(_) => {
            Verdict::first("a sandbox with more privilege: docker run --privileged, or a virtual machine")
        }
    }
}

/// Whether a profile has a rule for the file in this state, which finds what it needs.
fn supplied(profile: &Profile, path: &Path, state: State) -> bool {
    profile.files.iter().any(|rule| {
        rule.matches(path.as_os_str().as_bytes())
            && match state {
                State::Missing => rule.when == When::Missing && finds_stand_in(rule, path),
                State::Refused(_) => rule.when == When::WriteFails,
                State::Works | State::NeedsRoot | State::NoProc => false,
            }
    })
}

fn finds_stand_in(rule: &FileRule, path: &Path) -> bool {
    match rule.supply() {
        Supply::StandIn(name) => path.parent().unwrap_or(path).join(name).exists(),
        Supply::Content(_) | Supply::Writes => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_asked_for_the_state_that_the_file_is_in() {
        let profile = Profile::gvisor();
        let says = |path: &str, state| supplied(&profile, Path::new(path), state);
        assert!(says("/dev/kmsg", State::Missing) && !says("/dev/kmsg", State::Refused(libc::EPERM)));
        let memory = "/proc/sys/vm/overcommit_memory";
        assert!(says(memory, State::Refused(libc::EIO)) && !says(memory, State::Missing));
        // Its stand-in would be in the same folder.
        assert!(!says("/no/such/cpuacct.usage_percpu", State::Missing));
        assert!(!supplied(&Profile::none(), Path::new("/dev/kmsg"), State::Missing));
    }

    #[test]
    fn the_kubelets_parameters_are_in_the_profile() {
        let profile = Profile::gvisor();
        let missing = |p: &&Parameter| !profile.files.iter().any(|rule| rule.matches(p.path.as_bytes()));
        let names: Vec<_> = PARAMETERS.iter().filter(missing).map(|p| short(p.path)).collect();
        assert_eq!(names, ["net.ipv4.ip_forward"]);
    }
}

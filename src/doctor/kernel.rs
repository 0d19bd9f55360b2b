//! The sandbox, what this process may do in it, and what fsmasq itself needs.

use super::child;
use super::finding::{Area, Finding, NO_PROC, Verdict, text_of};
use super::machine::Machine;
use crate::launch::{LaunchError, install_filter, refuse_second_tracer, seize_refused, yama_scope};
use crate::ptrace::{self, Options, Tid};
use crate::seccomp::{self, Selection};
use crate::status::Status;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{ForkResult, fork, pause, pipe};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// capabilities(7), by their numbers.
const CAPABILITIES: [(&str, u32); 13] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETPCAP", 8),
    ("NET_BIND_SERVICE", 10),
    ("NET_ADMIN", 12),
    ("SYS_CHROOT", 18),
    ("SYS_PTRACE", 19),
    ("SYS_ADMIN", 21),
    ("MKNOD", 27),
];

/// As k3s's own systemd unit asks for; a few thousand do for a small node.
const ENOUGH_DESCRIPTORS: u64 = 16_384;

pub fn sandbox(machine: &Machine) -> Vec<Finding> {
    let release = &machine.release;
    let (seen, why) = if machine.is_gvisor && version(release).is_some_and(|version| version < (4, 11)) {
        (format!("gVisor of before 2025 (uname: {release})"), "version and platform are not told inside")
    } else if machine.is_gvisor {
        (format!("gVisor (uname: {release})"), "version and platform are not told inside")
    } else {
        (format!("Linux {release}, not gVisor"), "gVisor would need more")
    };
    let mut findings = vec![Finding::new(Area::Sandbox, "kernel", seen, Verdict::Fine, why)];
    if version(release).is_some_and(|version| version < (4, 11)) {
        findings.push(Finding::new(
            Area::Sandbox,
            "uname's release",
            format!("{release}, before 4.11"),
            Verdict::better("enable_unprivileged_ports = false; enable_unprivileged_icmp = false"),
            "containerd's CRI refuses these two settings here; for a config.toml of your own",
        ));
    }
    findings
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub fn privileges(machine: &Machine) -> Vec<Finding> {
    let root = if machine.is_root {
        Finding::new(Area::Sandbox, "user", "root", Verdict::Fine, "a node mounts, and makes namespaces")
    } else {
        let line = Verdict::first("sudo fsmasq --doctor");
        Finding::new(
            Area::Sandbox,
            "user",
            "not root",
            line,
            "a node is root's; a `?` below could be tried by root",
        )
    };
    vec![root, capabilities(machine), descriptors()]
}

fn capabilities(machine: &Machine) -> Finding {
    const WHAT: &str = "capabilities";
    const WHY: &str = "a node uses them, and hands them on";
    if !machine.is_root {
        return Finding::new(Area::Sandbox, WHAT, "those of root count", Verdict::Unknown, WHY);
    }
    let held = Status::of_self().and_then(|status| u64::from_str_radix(status.field("CapEff")?, 16).ok());
    let Some(held) = held else {
        return Finding::new(Area::Sandbox, WHAT, NO_PROC, Verdict::Unknown, WHY);
    };
    let missing: Vec<&str> = missing_capabilities(held);
    match missing.as_slice() {
        [] => Finding::new(Area::Sandbox, WHAT, "all that a node needs", Verdict::Fine, WHY),
        missing => {
            let verdict = Verdict::first("docker run --privileged; in an OCI config: process.capabilities");
            Finding::new(Area::Sandbox, WHAT, format!("missing: {}", missing.join(" ")), verdict, WHY)
        }
    }
}

fn missing_capabilities(held: u64) -> Vec<&'static str> {
    CAPABILITIES.iter().filter(|(_, bit)| held >> bit & 1 == 0).map(|(name, _)| *name).collect()
}

fn descriptors() -> Finding {
    const WHY: &str = "a node holds thousands";
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    let verdict = if hard >= ENOUGH_DESCRIPTORS {
        Verdict::Fine
    } else {
        Verdict::better("ulimit -n 1048576 (docker run --ulimit nofile=1048576)")
    };
    Finding::new(Area::Sandbox, "open files", format!("at most {hard}"), verdict, WHY)
}

/// What one process could do to another.
#[derive(Debug, Serialize, Deserialize)]
struct Traced {
    seized: Result<(), i32>,
    /// process_vm_readv(2), and /proc/TID/mem.
    by_call: Result<(), i32>,
    by_file: bool,
}

pub fn tracing(_: &Machine) -> Vec<Finding> {
    const WHY: &str = "fsmasq sees calls by it";
    let ptrace = |seen: String, verdict| Finding::new(Area::Prefix, "ptrace", seen, verdict, WHY);
    // A second tracer is told by the questions' parent: its child has no tracer unless forks are followed.
    if let Err(error) = refuse_second_tracer() {
        let verdict = Verdict::first("start fsmasq --doctor without the tracer or fsmasq above it");
        return vec![ptrace(first_sentence(&error.to_string()), verdict)];
    }
    let yama = yama_scope();
    let traced = match trace() {
        Ok(traced) => traced,
        Err(why) => return vec![ptrace(why, Verdict::Unknown)],
    };
    if let Err(errno) = traced.seized {
        return vec![match seize_refused(errno, &yama) {
            LaunchError::PtraceForbidden { why, remedy } => ptrace(why, Verdict::first(remedy)),
            other => ptrace(other.to_string(), Verdict::Unknown),
        }];
    }
    vec![ptrace("works".into(), Verdict::Fine), memory(&traced)]
}

fn first_sentence(text: &str) -> String {
    text.split(", and ").next().unwrap_or(text).to_owned()
}

fn memory(traced: &Traced) -> Finding {
    let (seen, verdict) = match (traced.by_call, traced.by_file) {
        (Ok(()), _) => ("process_vm_readv".to_owned(), Verdict::Fine),
        (Err(errno), file) => {
            let other = if file { "/proc/PID/mem" } else { "PTRACE_PEEKDATA" };
            (format!("by {other} (process_vm_readv: {})", text_of(Errno::from_raw(errno))), Verdict::Fsmasq)
        }
    };
    Finding::new(Area::Prefix, "other processes' memory", seen, verdict, "fsmasq reads paths there")
}

/// A sibling seizes a process, as fsmasq's tracer does, and reads a word of it.
fn trace() -> Result<Traced, String> {
    static WORD: u64 = 0x6673_6d61_7371_2121;
    let failed = text_of;
    let (reader, writer) = pipe().map_err(failed)?;
    // SAFETY: this process has one thread.
    let target = match unsafe { fork() }.map_err(failed)? {
        ForkResult::Child => {
            // SAFETY: no pointers. The first is for the case that all this is ended from outside, the second for Yama,
            // which may allow ancestors only.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY);
            }
            let _ = File::from(writer).write_all(b"!");
            loop {
                pause();
            }
        }
        ForkResult::Parent { child } => child,
    };
    drop(writer);
    File::from(reader).read_exact(&mut [0]).map_err(|error| error.to_string())?;
    let tid = Tid(target.as_raw());
    // Its end ends what it traces.
    child::ask(Duration::from_secs(5), || {
        let seized = ptrace::seize(tid, Options { reporting_ends: false }).map_err(|errno| errno as i32);
        let base = std::ptr::from_ref(&WORD).addr();
        let mut bytes = [0; size_of::<u64>()];
        let remote = [RemoteIoVec { base, len: bytes.len() }];
        let by_call = process_vm_readv(target, &mut [IoSliceMut::new(&mut bytes)], &remote);
        let by_file = File::open(format!("/proc/{target}/mem"))
            .and_then(|memory| memory.read_exact_at(&mut bytes, base as u64))
            .is_ok();
        Traced { seized, by_call: by_call.map(drop).map_err(|errno| errno as i32), by_file }
    })
    .map_err(|why| why.to_string())
}

/// The filter that fsmasq would install, in this child; and the call by which tables are shown.
pub fn filters(machine: &Machine) -> Vec<Finding> {
    let memfd = memfd_create("fsmasq-doctor", MFdFlags::MFD_CLOEXEC).map(drop);
    let selection = Selection { all_files: machine.rules.profile.takes_writes(), stubs: true };
    let filter = install_filter(&seccomp::program(selection));
    vec![
        Finding::of_try(
            Area::Prefix,
            "seccomp filters",
            filter,
            Verdict::Fsmasq,
            "otherwise every call stops, several times slower",
        ),
        Finding::of_try(
            Area::Prefix,
            "memfd_create",
            memfd,
            Verdict::first("allow memfd_create in the container's seccomp profile"),
            "a rewritten mount table is one",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert_eq!(version("4.4.0"), Some((4, 4)));
        assert_eq!(version("4.19.0-gvisor"), Some((4, 19)));
        assert_eq!(version("6.1"), Some((6, 1)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn capabilities_are_told_by_bits() {
        assert_eq!(missing_capabilities(u64::MAX), Vec::<&str>::new());
        assert_eq!(missing_capabilities(!(1 << 21 | 1)), ["CHOWN", "SYS_ADMIN"]);
    }
}

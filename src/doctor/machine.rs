//! What is known of the machine before the questions.

use crate::rewrite::mount_table::{Format, Mount, mounts};
use crate::rules::{Profile, Rules};
use crate::sandbox;
use nix::sys::utsname::uname;
use std::ffi::OsStr;
use std::fs;

/// The machine, and what fsmasq would do on it.
pub struct Machine<'a> {
    pub rules: &'a Rules,
    pub is_gvisor: bool,
    pub is_root: bool,
    /// As in uname(2).
    pub release: String,
    /// /proc/self/mountinfo; empty without /proc.
    table: Vec<u8>,
}

impl<'a> Machine<'a> {
    pub fn look(rules: &'a Rules) -> Machine<'a> {
        let release = uname().map(|name| text(name.release())).unwrap_or_default();
        Machine {
            rules,
            is_gvisor: sandbox::is_gvisor() || log_says_gvisor(),
            is_root: nix::unistd::geteuid().is_root(),
            release,
            table: fs::read("/proc/self/mountinfo").unwrap_or_default(),
        }
    }

    pub fn mounts(&self) -> Vec<Mount<'_>> {
        mounts(Format::Mountinfo, &self.table).collect()
    }

    /// The rules with what the profile `gvisor` has in addition: what a user could still ask for.
    pub fn rules_with_gvisor(&self) -> Rules {
        Rules { profile: Profile::gvisor(), ..self.rules.clone() }
    }
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// gVisor's log begins so on every release and whatever uname says.
fn log_says_gvisor() -> bool {
    const READ_ALL: libc::c_int = 3; // SYSLOG_ACTION_READ_ALL, syslog(2); takes nothing out
    let mut log = [0u8; 4096];
    let len = libc::c_int::try_from(log.len()).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes.
    let count = unsafe { libc::klogctl(READ_ALL, log.as_mut_ptr().cast(), len) };
    let count = usize::try_from(count).unwrap_or(0);
    String::from_utf8_lossy(&log[..count]).contains("Starting gVisor...")
}

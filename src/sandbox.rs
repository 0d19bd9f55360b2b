//! Which sandbox this is.

use nix::sys::utsname::uname;

/// Whether this kernel is gVisor's. It says so in its release since 2025 (`4.19.0-gvisor`); before, it
/// had one version text for many years (pkg/sentry/syscalls/linux/linux64.go).
pub fn is_gvisor() -> bool {
    uname().is_ok_and(|name| {
        let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
        is_gvisors_name(&text(name.release()), &text(name.version()))
    })
}

fn is_gvisors_name(release: &str, version: &str) -> bool {
    release.contains("gvisor") || version == "#1 SMP Sun Jan 10 15:06:54 PST 2016"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gvisor_is_known_by_its_name() {
        assert!(is_gvisors_name("4.4.0", "#1 SMP Sun Jan 10 15:06:54 PST 2016"));
        assert!(is_gvisors_name("4.19.0-gvisor", "#1 SMP"));
        assert!(!is_gvisors_name("6.1.0-18-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1"));
    }
}

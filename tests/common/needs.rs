//! What a test needs of the machine. Where it is missing the test is skipped, by name.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A tool, a privilege, or a feature of the kernel.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    pub what: &'static str,
    is_met: fn() -> bool,
}

impl Need {
    pub const fn new(what: &'static str, is_met: fn() -> bool) -> Need {
        Need { what, is_met }
    }

    pub fn is_met(&self) -> bool {
        (self.is_met)()
    }
}

/// Root that may mount: what makes the stage's odd mount points.
pub const ROOT: Need = Need::new("root with CAP_SYS_ADMIN", || super::stage().has_mounts);
pub const UNSHARE: Need = Need::new("unshare (util-linux)", || finds("unshare"));
pub const SETPRIV: Need = Need::new("setpriv (util-linux)", || finds("setpriv"));
pub const STRACE: Need = Need::new("strace", || finds("strace"));
pub const PYTHON: Need = Need::new("python3", || succeeds("python3", &["-c", "pass"]));
pub const GO: Need = Need::new("go", || succeeds("go", &["version"]));
pub const CC_M32: Need = Need::new("a C compiler with -m32 (gcc-multilib)", || {
    static MET: OnceLock<bool> = OnceLock::new();
    *MET.get_or_init(|| crate::guests::i386_program().is_some())
});
pub const BUSYBOX: Need = Need::new("busybox", || finds("busybox"));
pub const STATMOUNT: Need = Need::new("statmount (Linux 6.8)", || {
    // SAFETY: null pointers, which the kernel refuses where it has the call.
    unsafe { libc::syscall(457, 0, 0, 0, 0) };
    std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
});
pub const USER_NAMESPACES: Need =
    Need::new("user namespaces", || finds("unshare") && succeeds("unshare", &["-Ur", "true"]));

/// Whether PATH has the program.
pub fn finds(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| is_program(&folder.join(program))))
}

fn is_program(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file()
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

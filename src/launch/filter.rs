//! Installing the BPF program in this process, for it and all that it will start.

use libc::{sock_filter, sock_fprog};

/// Installs `program`. With CAP_SYS_ADMIN this needs no `no_new_privs`, so that setuid programs below
/// keep working. Without it, `no_new_privs` is set; a tracer without privilege keeps setuid programs
/// from gaining any in any case (execve(2)).
pub fn install(program: &[sock_filter]) -> nix::Result<()> {
    match set_filter(program) {
        Err(nix::Error::EACCES | nix::Error::EPERM) => {
            nix::sys::prctl::set_no_new_privs()?;
            set_filter(program)
        }
        answer => answer,
    }
}

fn set_filter(program: &[sock_filter]) -> nix::Result<()> {
    let program = sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| nix::Error::E2BIG)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which outlives the call, and writes nothing.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    nix::Error::result(answer).map(drop)
}

//! A pipe or terminal on stderr, held by its name: whoever reads it sees the end when the command lets go of
//! it, though the tracer may still have something to say there.

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::{SFlag, fstat};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Puts an O_PATH descriptor in the place of stderr: neither a writer of the pipe nor a user of the terminal.
/// Other files are shared with the command, offset and all, and don't make anybody wait. What can't be
/// opened again by name (no /proc, the terminal /dev/tty) stays as it is, but never waits where it can be had
/// so. The working folder is /proc.
pub fn hold_stderr() {
    let kind = fstat(io::stderr()).map(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT);
    if !matches!(kind, Ok(SFlag::S_IFIFO | SFlag::S_IFCHR)) {
        return;
    }
    let name = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("self/fd/2");
    let is_held = name.is_ok_and(|name| {
        let can_be_opened = match open(name.as_raw_fd()) {
            Ok(_) => true,
            // A pipe that nobody reads now.
            Err(error) => kind == Ok(SFlag::S_IFIFO) && error.raw_os_error() == Some(libc::ENXIO),
        };
        can_be_opened && put_on_stderr(&name)
    });
    if !is_held && let Ok(own) = open(libc::STDERR_FILENO) {
        put_on_stderr(&own);
    }
}

/// The file behind a descriptor that is held so, opened for one line; None for any other.
pub fn open_for_a_line(fd: impl AsFd) -> Option<io::Result<File>> {
    let fd = fd.as_fd();
    let flags = fcntl(fd, FcntlArg::F_GETFL).ok()?;
    (flags & libc::O_PATH != 0).then(|| open(fd.as_raw_fd()))
}

/// In a mode of its own, in which a write never waits.
fn open(fd: RawFd) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().write(true).custom_flags(flags).open(format!("self/fd/{fd}"))
}

fn put_on_stderr(file: &File) -> bool {
    // SAFETY: both descriptors are open; nobody owns 2.
    unsafe { libc::dup2(file.as_raw_fd(), libc::STDERR_FILENO) != -1 }
}

//! System calls as they are, without a library in between.

use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The call's result, or its errno.
pub fn checked(result: libc::c_long) -> Result<i64, i32> {
    if result == -1 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap());
    }
    Ok(result)
}

pub fn string(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// openat(2).
pub fn open_at(folder: RawFd, path: &str, flags: i32) -> Result<OwnedFd, i32> {
    let path = string(path);
    // SAFETY: a string that ends in NUL.
    checked(unsafe { libc::syscall(libc::SYS_openat, folder, path.as_ptr(), flags, 0o600) }).map(owned)
}

pub fn open(path: &str, flags: i32) -> Result<OwnedFd, i32> {
    open_at(libc::AT_FDCWD, path, flags)
}

/// The old open(2), which C libraries do not make any more.
pub fn old_open(path: &str, flags: i32) -> Result<OwnedFd, i32> {
    let path = string(path);
    // SAFETY: as above.
    checked(unsafe { libc::syscall(libc::SYS_open, path.as_ptr(), flags, 0o600) }).map(owned)
}

/// openat2(2).
pub fn open_at_2(folder: RawFd, path: &str, flags: i32, resolve: u64) -> Result<OwnedFd, i32> {
    let path = string(path);
    let how = [u64::try_from(flags).unwrap(), 0, resolve];
    // SAFETY: as above; `struct open_how` is three words.
    checked(unsafe { libc::syscall(libc::SYS_openat2, folder, path.as_ptr(), how.as_ptr(), 24) }).map(owned)
}

fn owned(fd: i64) -> OwnedFd {
    // SAFETY: a call has just answered with it.
    unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap()) }
}

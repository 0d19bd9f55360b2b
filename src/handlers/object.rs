//! What is behind a task's descriptor: held by O_PATH, and told apart by the kernel's own data. A path is no proof,
//! since whoever mounts chooses it; and a file system must not be asked, since its server may be a task that waits
//! for this tracer.

use crate::ptrace::Tid;
use crate::rewrite::mount_table::{Device, Format, mounts};
use crate::status::Status;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// `STATX_ATTR_MOUNT_ROOT` (linux/stat.h; Linux 5.8).
const MOUNT_ROOT: u64 = 0x2000;
/// `PIDFD_THREAD` (linux/pidfd.h; Linux 6.9), which is O_EXCL.
pub const PIDFD_THREAD: libc::c_int = libc::O_EXCL;
/// Never wait, never take a terminal.
const CAREFULLY: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;
/// Larger tables are left as they are: 64 MiB is about 500,000 mounts.
pub const TABLE_BYTES: u64 = 64 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// Which object it is, as statx(2) says without asking a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub device: Device,
    pub inode: u64,
    mode: u16,
    size: u64,
    /// It is mounted by itself, so the last component of its path is the mount point's, not its own.
    pub is_mount_root: bool,
}

impl Identity {
    fn of(file: impl AsFd) -> io::Result<Identity> {
        // SAFETY: the struct is plain integers, for which all zeroes is a value.
        let mut answer: libc::statx = unsafe { std::mem::zeroed() };
        let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
        let fd = file.as_fd().as_raw_fd();
        // SAFETY: an empty string that ends in NUL, and a struct that the kernel fills.
        let result =
            unsafe { libc::statx(fd, c"".as_ptr(), flags, libc::STATX_BASIC_STATS, &raw mut answer) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Identity {
            device: Device { major: answer.stx_dev_major, minor: answer.stx_dev_minor },
            inode: answer.stx_ino,
            mode: answer.stx_mode,
            size: answer.stx_size,
            is_mount_root: answer.stx_attributes & MOUNT_ROOT != 0,
        })
    }

    /// Whether it can be the memfd that a task has just been made to create. `device` is that of all memfds: they are on
    /// a file system that is mounted nowhere. Everybody who holds one so new may write to it.
    fn is_new_memfd(&self, device: Device) -> bool {
        let is_file = u32::from(self.mode) & libc::S_IFMT == libc::S_IFREG;
        is_file && self.device == device && self.mode & 0o666 == 0o666 && self.size == 0
    }
}

/// An object, held whatever the task does with the number meanwhile.
#[derive(Debug)]
pub struct Object {
    /// Where the tracer can open it again, for as long as this lives.
    own: String,
    /// As readlink shows it.
    pub path: Vec<u8>,
    pub identity: Identity,
    tid: Tid,
    fd: RawFd,
    _held: File,
}

impl Object {
    /// Opening by O_PATH has no side effects.
    pub fn of(tid: Tid, fd: RawFd) -> io::Result<Object> {
        let held = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(format!("{tid}/fd/{fd}"))?;
        let own = format!("self/fd/{}", held.as_raw_fd());
        let path = fs::read_link(&own)?.into_os_string().into_vec();
        let identity = Identity::of(&held)?;
        Ok(Object { own, path, identity, tid, fd, _held: held })
    }

    /// Whether it is on a procfs: the tracer's, or one that is mounted where the task or the tracer is.
    pub fn is_on_procfs(&self) -> bool {
        let device = self.identity.device;
        let is_own = File::open(".").and_then(Identity::of).is_ok_and(|own| own.device == device);
        is_own
            || [mountinfo(self.tid), read_table("self/mountinfo")].into_iter().flatten().any(|table| {
                mounts(Format::Mountinfo, &table).any(|m| m.fstype == b"proc" && m.device == Some(device))
            })
    }

    /// The whole text of a table. Read through the task's own open file where that
    /// can be had: no privilege is lent, and a table can be read whose process has ended.
    pub fn read_table(&self) -> io::Result<Vec<u8>> {
        let _there = InCgroupNamespace::of(self.tid);
        match self.of_the_task() {
            Some(file) => within_limit(read_from_start(&file)?),
            None => read_table(&self.own),
        }
    }

    /// The task's open file, where it still is this object.
    fn of_the_task(&self) -> Option<File> {
        let file = File::from(descriptor_of(self.tid, self.fd).ok()?);
        (Identity::of(&file).ok()? == self.identity).then_some(file)
    }

    /// Opens a memfd that the task has just made; None where it is something else.
    pub fn open_new_memfd(&self, device: Device) -> io::Result<Option<File>> {
        if !self.identity.is_new_memfd(device) {
            return Ok(None);
        }
        OpenOptions::new().read(true).write(true).custom_flags(CAREFULLY).open(&self.own).map(Some)
    }
}

/// While this lives, the tracer is in a task's cgroup namespace: a table shows the roots of cgroup mounts as whoever
/// reads it sees them (kernel/cgroup/cgroup.c, cgroup_show_path).
struct InCgroupNamespace {
    own: File,
}

impl InCgroupNamespace {
    /// None where it is the tracer's own, or can't be entered.
    fn of(tid: Tid) -> Option<InCgroupNamespace> {
        let link = format!("{tid}/ns/cgroup");
        if fs::read_link(&link).ok()? == fs::read_link("self/ns/cgroup").ok()? {
            return None;
        }
        let own = File::open("self/ns/cgroup").ok()?;
        enter_cgroup_namespace(&File::open(link).ok()?).then_some(InCgroupNamespace { own })
    }
}

impl Drop for InCgroupNamespace {
    fn drop(&mut self) {
        enter_cgroup_namespace(&self.own);
    }
}

fn enter_cgroup_namespace(namespace: &File) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWCGROUP) == 0 }
}

/// The device of all memfds.
pub fn memfd_device() -> io::Result<Device> {
    let memfd = nix::sys::memfd::memfd_create(c"", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    Identity::of(memfd).map(|identity| identity.device)
}

/// Whether two descriptors are of one object, whatever has been done to it meanwhile.
pub fn is_same(one: impl AsFd, other: impl AsFd) -> bool {
    let place = |identity: Identity| (identity.device, identity.inode);
    matches!((Identity::of(one), Identity::of(other)), (Ok(a), Ok(b)) if place(a) == place(b))
}

/// The mounts where a task is.
pub fn mountinfo(tid: Tid) -> io::Result<Vec<u8>> {
    read_table(&format!("{tid}/mountinfo"))
}

/// A table of procfs, by its path below the tracer's /proc.
pub fn read_table(path: &str) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(CAREFULLY).open(path)?;
    let mut content = Vec::new();
    file.take(TABLE_BYTES + 1).read_to_end(&mut content)?;
    within_limit(content)
}

fn within_limit(content: Vec<u8>) -> io::Result<Vec<u8>> {
    if content.len() as u64 > TABLE_BYTES {
        return Err(io::Error::other(format!("the mount table has more than {TABLE_BYTES} bytes")));
    }
    Ok(content)
}

/// Without moving the offset, which is the task's.
fn read_from_start(file: &File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let start = content.len();
        content.resize(start + CHUNK_BYTES, 0);
        let read = file.read_at(&mut content[start..], start as u64)?;
        content.truncate(start + read);
        if read == 0 || content.len() as u64 > TABLE_BYTES {
            return Ok(content);
        }
    }
}

/// A task's descriptor as one of our own (pidfd_getfd(2), Linux 5.6).
pub fn descriptor_of(tid: Tid, fd: RawFd) -> io::Result<OwnedFd> {
    Holder::of(tid)?.descriptor(fd)
}

/// Who has a task's descriptors.
#[derive(Debug)]
pub struct Holder(OwnedFd);

impl Holder {
    /// The task itself, or (before Linux 6.9) its process, which nearly always shares them.
    pub fn of(tid: Tid) -> io::Result<Holder> {
        // SAFETY: no pointers.
        let pidfd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, tid.0, PIDFD_THREAD) });
        pidfd.map(Holder).or_else(|_| {
            let process = Status::of(tid).and_then(|status| status.number::<i32>("Tgid"));
            let process = process.ok_or(io::ErrorKind::NotFound)?;
            // SAFETY: no pointers.
            owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) }).map(Holder)
        })
    }

    pub fn descriptor(&self, fd: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: no pointers.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), fd, 0) })
    }
}

fn owned(answer: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(answer) {
        // SAFETY: the kernel has just made it for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

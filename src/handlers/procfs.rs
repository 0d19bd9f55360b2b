//! What the tracer learns of a task's descriptors from its own /proc, which is its working folder: never by
//! opening what the task named (a FIFO would block, a device may act), only by O_PATH, and reading only what
//! is procfs's own.

use crate::ptrace::Tid;
use crate::rewrite::mount_table::{Format, mounts, unescape};
use crate::rewrite::statfs::STRUCT_BYTES;
use crate::rules::fstype::PROC_MAGIC;
use crate::rules::profile::last_component;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// Larger tables are left as they are: 64 MiB is about 500,000 mounts.
const TABLE_BYTES: u64 = 64 << 20;
/// How readlink shows a memfd, in front of and behind its name.
const MEMFD_PREFIX: &[u8] = b"/memfd:";
const MEMFD_SUFFIX: &[u8] = b" (deleted)";

/// An open mount table.
#[derive(Debug)]
pub struct OpenTable {
    pub format: Format,
    /// Its path as the tracer's /proc shows it.
    pub path: Vec<u8>,
    pub content: Vec<u8>,
}

/// What is behind a task's descriptor, held by O_PATH: whatever the task does with the number meanwhile.
struct Handle {
    /// Where the tracer can open it again, for as long as this lives.
    own: String,
    /// As readlink shows it.
    path: Vec<u8>,
    _held: File,
}

impl Handle {
    fn of(tid: Tid, fd: i32) -> io::Result<Handle> {
        let held = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_CLOEXEC)
            .open(format!("{tid}/fd/{fd}"))?;
        let own = format!("self/fd/{}", held.as_raw_fd());
        let path = fs::read_link(&own)?.into_os_string().into_vec();
        Ok(Handle { own, path, _held: held })
    }
}

/// The table behind a task's descriptor, or None where that is no mount table.
pub fn mount_table(tid: Tid, fd: i32) -> io::Result<Option<OpenTable>> {
    let Handle { own, path, .. } = &Handle::of(tid, fd)?;
    let Some(format) = Format::from_name(last_component(path)) else { return Ok(None) };
    if !is_on_procfs(own)? {
        return Ok(None);
    }
    let content = read_table(own)?;
    Ok(Some(OpenTable { format, path: path.clone(), content }))
}

/// Candidates for the `mountinfo` that goes with another table: the one in its folder, and the task's own.
pub fn companion_mountinfo(tid: Tid, table: &OpenTable) -> impl Iterator<Item = Vec<u8>> {
    let folder = &table.path[..table.path.len() - last_component(&table.path).len()];
    // As readlink shows it; a path that is not below /proc is another mount's, and not looked at.
    let folder = folder.strip_prefix(b"/proc/").unwrap_or(b"self/none/");
    let beside = [folder, b"mountinfo"].concat();
    [PathBuf::from(OsString::from_vec(beside)), PathBuf::from(format!("{tid}/mountinfo"))]
        .into_iter()
        .filter_map(|path| read_table(path).ok())
}

fn read_table(path: impl AsRef<std::path::Path>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(TABLE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > TABLE_BYTES {
        return Err(io::Error::other(format!("the mount table has more than {TABLE_BYTES} bytes")));
    }
    Ok(content)
}

/// Whether a descriptor is one of ours that stands for a file of procfs. Stateless: the name says it. A
/// program that gives such a name to a memfd of its own deceives only itself.
pub fn is_substituted(tid: Tid, fd: i32) -> bool {
    let Ok(link) = fs::read_link(format!("{tid}/fd/{fd}")) else { return false };
    let name = link.as_os_str().as_bytes().strip_prefix(MEMFD_PREFIX);
    name.is_some_and(|name| name.starts_with(b"/proc/") && name.ends_with(MEMFD_SUFFIX))
}

/// What to call a descriptor in the log.
pub fn descriptor_name(tid: Tid, fd: i32) -> String {
    fs::read_link(format!("{tid}/fd/{fd}")).map_or_else(|_| "?".to_owned(), |link| link.display().to_string())
}

/// Opens a memfd that a task has just made; None where the descriptor is something else by now.
pub fn open_memfd(tid: Tid, fd: i32) -> io::Result<Option<File>> {
    let Handle { own, path, .. } = &Handle::of(tid, fd)?;
    if !path.starts_with(MEMFD_PREFIX) {
        return Ok(None);
    }
    OpenOptions::new().read(true).write(true).open(own).map(Some)
}

/// Where the object behind a descriptor is mounted, not escaped.
pub fn mount_point(tid: Tid, fd: i32) -> Option<Vec<u8>> {
    let info = fs::read_to_string(format!("{tid}/fdinfo/{fd}")).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()?;
    let table = read_table(format!("{tid}/mountinfo")).ok()?;
    mounts(Format::Mountinfo, &table).find(|m| m.id == Some(id)).map(|m| unescape(m.mount_point))
}

/// The task behind a task's pidfd, as the tracer's /proc numbers it.
pub fn task_of_pidfd(tid: Tid, pidfd: i32) -> Option<Tid> {
    let info = fs::read_to_string(format!("{tid}/fdinfo/{pidfd}")).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(Tid(pid))
}

/// A folder of a task, by its link below /proc/TID, as the task itself names it.
pub fn folder(tid: Tid, link: &str) -> Option<Vec<u8>> {
    let target = fs::read_link(format!("{tid}/{link}")).ok()?.into_os_string().into_vec();
    let root = fs::read_link(format!("{tid}/root")).ok()?.into_os_string().into_vec();
    if root == b"/" {
        return Some(target);
    }
    match target.strip_prefix(&root[..]) {
        Some(b"") => Some(b"/".to_vec()),
        Some(rest) if rest.starts_with(b"/") => Some(rest.to_vec()),
        _ => Some(target),
    }
}

/// The struct that statfs(2) answers for /proc.
pub fn own_statfs() -> Option<[u8; STRUCT_BYTES]> {
    raw_statfs(".").ok().map(|raw| {
        // SAFETY: the struct has no padding: asm/statfs.h, words and pairs of ints only.
        unsafe { std::mem::transmute::<libc::statfs, [u8; STRUCT_BYTES]>(raw) }
    })
}

/// By the magic; gVisor before 2023 answers ENOSYS to statfs on procfs, so there by the device.
fn is_on_procfs(path: &str) -> io::Result<bool> {
    match raw_statfs(path) {
        Ok(answer) => Ok(answer.f_type == i64::from(PROC_MAGIC)),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            Ok(fs::metadata(path)?.dev() == fs::metadata(".")?.dev())
        }
        Err(error) => Err(error),
    }
}

fn raw_statfs(path: &str) -> io::Result<libc::statfs> {
    let path = std::ffi::CString::new(path)?;
    // SAFETY: the struct is plain integers, for which all zeroes is a value.
    let mut buffer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends in NUL, and a struct that the kernel fills.
    match unsafe { libc::statfs(path.as_ptr(), &raw mut buffer) } {
        0 => Ok(buffer),
        _ => Err(io::Error::last_os_error()),
    }
}

//! What the tracer learns of a task's descriptors from its own /proc, which is its working folder: never by
//! opening what the task named (a FIFO would block, a device may act), only by O_PATH, and reading only what
//! is procfs's own.

use super::object::{Object, mountinfo, read_table};
use crate::ptrace::Tid;
use crate::rewrite::mount_table::{Format, mounts, unescape};
use crate::rewrite::statfs::STRUCT_BYTES;
use crate::rules::FsType;
use crate::rules::profile::last_component;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

/// How readlink shows a memfd, in front of and behind its name.
const MEMFD_PREFIX: &[u8] = b"/memfd:";
const DELETED_SUFFIX: &[u8] = b" (deleted)";

/// An open mount table.
#[derive(Debug)]
pub struct OpenTable {
    pub format: Format,
    /// Its path as the tracer's /proc shows it.
    pub path: Vec<u8>,
    pub content: Vec<u8>,
}

/// The table behind a task's descriptor, or None where that is no mount table.
pub fn mount_table(tid: Tid, fd: i32) -> io::Result<Option<OpenTable>> {
    let object = Object::of(tid, fd)?;
    // Of a process that has ended, the table can still be read.
    let path = object.path.strip_suffix(DELETED_SUFFIX).unwrap_or(&object.path);
    let Some(format) = Format::from_name(last_component(path)) else { return Ok(None) };
    if object.identity.is_mount_root || !object.is_on_procfs() {
        return Ok(None);
    }
    Ok(Some(OpenTable { format, path: path.to_vec(), content: object.read_table()? }))
}

/// Candidates for the `mountinfo` that goes with another table: the one in its folder, and the task's own.
pub fn companion_mountinfo(tid: Tid, table: &OpenTable) -> impl Iterator<Item = Vec<u8>> {
    let folder = &table.path[..table.path.len() - last_component(&table.path).len()];
    // As readlink shows it; a path that is not below /proc is another mount's, and not looked at.
    let folder = folder.strip_prefix(b"/proc/").unwrap_or(b"self/none/");
    let beside = [folder, b"mountinfo"].concat();
    [String::from_utf8(beside).unwrap_or_default(), format!("{tid}/mountinfo")]
        .into_iter()
        .filter_map(|path| read_table(&path).ok())
}

/// The path that a descriptor of ours stands for. Stateless: the name says it. A program that gives such a name to a
/// memfd of its own deceives only itself.
pub fn substituted(tid: Tid, fd: i32) -> Option<Vec<u8>> {
    let link = path(tid, fd)?;
    let name = link.strip_prefix(MEMFD_PREFIX)?.strip_suffix(DELETED_SUFFIX)?;
    name.starts_with(b"/").then(|| name.to_vec())
}

/// The path of what is behind a descriptor, where that has one.
pub fn path(tid: Tid, fd: i32) -> Option<Vec<u8>> {
    let link = fs::read_link(format!("{tid}/fd/{fd}")).ok()?.into_os_string().into_vec();
    link.starts_with(b"/").then_some(link)
}

/// The type of the file system that a task has at a path, as mount tables name it; told by the table alone, since to
/// ask for the path itself could mean to wait for somebody. Links in the path are not followed.
pub fn fstype_at(tid: Tid, path: &[u8]) -> Option<FsType> {
    let table = mountinfo(tid).ok()?;
    let is_above = |point: &[u8]| {
        path.strip_prefix(point).is_some_and(|rest| rest.starts_with(b"/") || point.ends_with(b"/"))
    };
    // Of several mounts at one place the last one is seen.
    let mount = mounts(Format::Mountinfo, &table)
        .filter(|mount| is_above(&unescape(mount.mount_point)))
        .max_by_key(|mount| mount.mount_point.len())?;
    FsType::in_tables(std::str::from_utf8(mount.fstype).ok()?)
}

/// What to call a descriptor in the log.
pub fn descriptor_name(tid: Tid, fd: i32) -> String {
    fs::read_link(format!("{tid}/fd/{fd}")).map_or_else(|_| "?".to_owned(), |link| link.display().to_string())
}

/// Where the object behind a descriptor is mounted, not escaped.
pub fn mount_point(tid: Tid, fd: i32) -> Option<Vec<u8>> {
    let id = fdinfo(tid, fd, "mnt_id:")?;
    let table = mountinfo(tid).ok()?;
    mounts(Format::Mountinfo, &table).find(|m| m.id == Some(id)).map(|m| unescape(m.mount_point))
}

/// The task behind a task's pidfd, as the tracer's /proc numbers it.
pub fn task_of_pidfd(tid: Tid, pidfd: i32) -> Option<Tid> {
    fdinfo(tid, pidfd, "Pid:").filter(|pid| *pid > 0).map(Tid)
}

/// A number that the kernel says of a descriptor.
fn fdinfo<T: FromStr>(tid: Tid, fd: i32, field: &str) -> Option<T> {
    let info = fs::read_to_string(format!("{tid}/fdinfo/{fd}")).ok()?;
    info.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
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

//! Where a file would be that a profile supplies: in which folder, and who might write to it there.

use super::Environment;
use super::descriptor::Page;
use super::object::{Object, mountinfo};
use super::open::Request;
use super::procfs;
use crate::arch::{Injected, int_argument};
use crate::ptrace::{Result, Tid};
use crate::rewrite::mount_table::{Format, mounts, unescape};
use crate::rules::profile::last_component;
use crate::status::Status;
use crate::tracer::Traced;
use nix::errno::Errno;

/// A folder for supplied files.
#[derive(Debug)]
pub struct Place {
    /// Which one it is, whatever it is called where the task is.
    pub key: Vec<u8>,
    /// As the task itself names it.
    pub path: Vec<u8>,
}

/// The folder of the file that was asked for, where that is on a file system of one of these types. The task opens it
/// itself: what serves its files may be a task that waits for this tracer.
pub async fn folder(
    task: &Traced,
    environment: &Environment,
    request: &Request,
    types: &[String],
) -> Result<Option<Place>> {
    let is_mounted = mountinfo(task.tid)
        .is_ok_and(|table| mounts(Format::Mountinfo, &table).any(|mount| is_one_of(types, mount.fstype)));
    if !is_mounted {
        return Ok(None);
    }
    let path = match &request.path[..request.path.len() - last_component(&request.path).len()] {
        b"" => b".",
        folder => folder,
    };
    let Some(page) = Page::with_string(task, environment, path).await? else { return Ok(None) };
    let start = i64::from(request.folder).cast_unsigned();
    let flags = u64::from((libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC).cast_unsigned());
    let opened = task.inject(Injected::Openat, [start, page.address, flags, 0, 0, 0]).await?;
    page.unmap(task).await?;
    let Ok(fd) = opened else { return Ok(None) };
    let place = look(task.tid, int_argument(fd), types);
    task.inject(Injected::Close, [fd, 0, 0, 0, 0, 0]).await?.ok();
    Ok(place)
}

fn look(tid: Tid, fd: i32, types: &[String]) -> Option<Place> {
    let identity = Object::of(tid, fd).ok()?.identity;
    let table = mountinfo(tid).ok()?;
    mounts(Format::Mountinfo, &table)
        .find(|mount| mount.device == Some(identity.device) && is_one_of(types, mount.fstype))?;
    let device = identity.device;
    let key = format!("{}:{}:{}", device.major, device.minor, identity.inode).into_bytes();
    Some(Place { key, path: procfs::folder(tid, &format!("fd/{fd}"))? })
}

/// Why a task may not write to a file at `path` that is the launcher's user's own, with mode 0644: natively these are
/// root's, and read-only in containers.
pub fn refusal(tid: Tid, path: &[u8]) -> Option<Errno> {
    let user = Status::of(tid).and_then(|status| effective_user(status.field("Uid")?));
    // SAFETY: no pointers, and no errors.
    if user != Some(unsafe { libc::geteuid() }) {
        return Some(Errno::EACCES);
    }
    mountinfo(tid).is_ok_and(|table| is_read_only(&table, path)).then_some(Errno::EROFS)
}

/// Of `real effective saved file-system`.
fn effective_user(ids: &str) -> Option<u32> {
    ids.split_whitespace().nth(1)?.parse().ok()
}

/// Whether the mount that `path` is on can't be written to.
fn is_read_only(mountinfo: &[u8], path: &[u8]) -> bool {
    let mut deepest = (0, false);
    for line in mountinfo.split(|b| *b == b'\n') {
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let (Some(at), Some(own), Some(whole)) = (words.get(4), words.get(5), words.last()) else { continue };
        let at = unescape(at);
        let at = at.strip_suffix(b"/").unwrap_or(&at);
        // Later ones cover earlier ones.
        if at.len() >= deepest.0
            && path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        {
            let says_so = |options: &[u8]| options.split(|b| *b == b',').any(|option| option == b"ro");
            deepest = (at.len(), says_so(own) || says_so(whole));
        }
    }
    deepest.1
}

fn is_one_of(types: &[String], token: &[u8]) -> bool {
    types.iter().any(|name| name.as_bytes() == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_that_a_path_is_on_says_whether_it_can_be_written_to() {
        let table = b"1 0 0:1 / / rw - 9p none rw\n\
            2 1 0:2 / /proc rw,nosuid - proc proc rw\n\
            3 2 0:2 /sys /proc/sys ro,nosuid - proc proc rw\n\
            4 1 0:4 / /a rw - tmpfs none ro,size=1\n\
            5 1 0:5 / /a\\040b ro - tmpfs none rw\n\
            6 1 0:6 / /c ro - tmpfs none rw\n\
            7 6 0:7 / /c rw - tmpfs none rw\n\
            8 1 0:8 / /d rw  - tmpfs none rw\n";
        for (path, expected) in [
            ("/x", false),
            ("/proc/x", false),
            ("/proc/sys/kernel/panic", true),
            ("/proc/system", false),
            ("/a/x", true),
            ("/a b/x", true),
            ("/c/x", false),
            ("/d/x", false),
        ] {
            assert_eq!(is_read_only(table, path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn the_effective_user_is_the_second() {
        assert_eq!(effective_user("0\t65534\t0\t0"), Some(65534));
        assert_eq!(effective_user("0"), None);
    }
}

//! statfs(2), fstatfs(2) and their 64-bit forms on 32-bit machines.

use super::{Environment, descriptor, procfs};
use crate::arch::{Abi, Call, Injected, int_argument};
use crate::log::Rewritten;
use crate::ptrace::Result;
use crate::rewrite::statfs::{MAGIC_BYTES, STRUCT_BYTES, magic, with_magic};
use crate::rules::fstype::TMPFS_MAGIC;
use crate::tracer::{Outcome, Traced};
use std::rc::Rc;

/// The longest path that the kernel takes: PATH_MAX (linux/limits.h).
pub const PATH_BYTES: usize = 4096;

pub async fn handle(task: Traced, environment: Rc<Environment>) -> Result<Outcome> {
    let result = task.run_call().await?;
    if result == -i64::from(libc::ENOSYS) && environment.rules.profile.statfs.by_table {
        return by_table(&task, &environment);
    }
    if result != 0 {
        return Ok(None);
    }
    let by_descriptor = matches!(task.call, Call::Fstatfs | Call::Fstatfs64);
    let buffer = match task.call {
        Call::Statfs64 | Call::Fstatfs64 => task.arguments[2],
        _ => task.arguments[1],
    };
    let mut start = [0; MAGIC_BYTES];
    task.with_stopped(|stopped| environment.memory.read(stopped, buffer, &mut start))?;

    let fd = int_argument(task.arguments[0]);
    if by_descriptor
        && magic(start) == TMPFS_MAGIC
        && let Some(path) = procfs::substituted(task.tid, fd)
    {
        return as_at(&task, &environment, buffer, &path);
    }
    let Some(mapping) = environment.rules.for_magic(magic(start)) else { return Ok(None) };
    if !environment.rules.scope.is_everything() {
        match mount_point(&task, by_descriptor).await? {
            Some(at) if environment.rules.scope.contains(&at) => {}
            _ => return Ok(None),
        }
    }
    let new = with_magic(mapping.to.magic());
    task.with_stopped(|stopped| environment.memory.write(stopped, buffer, &new))?;
    environment.statistics.rewritten(&Rewritten {
        tid: task.tid,
        call: task.call,
        object: &|| {
            if by_descriptor {
                return format!("{fd} ({})", procfs::descriptor_name(task.tid, fd));
            }
            let path = task.with_stopped(|stopped| {
                environment.memory.read_string(stopped, task.arguments[0], PATH_BYTES)
            });
            String::from_utf8_lossy(&path.unwrap_or_default()).into_owned()
        },
        was: mapping.from.name(),
        is: mapping.to.name(),
    });
    Ok(None)
}

/// A descriptor of ours stands for a file at that path: its file system is the answer. Of others than procfs, the magic.
fn as_at(task: &Traced, environment: &Environment, buffer: u64, path: &[u8]) -> Result<Outcome> {
    let real = match path.strip_prefix(b"/proc/") {
        Some(_) => procfs::own_statfs().map(|real| {
            // The layouts of 32-bit programs differ: there, only the magic is the real one.
            let bytes = if task.abi == Abi::NATIVE { STRUCT_BYTES } else { MAGIC_BYTES };
            real[..bytes].to_vec()
        }),
        None => procfs::fstype_at(task.tid, path).map(|real| {
            let shown = environment.rules.for_magic(real.magic()).map_or(&real, |mapping| &mapping.to);
            with_magic(shown.magic()).to_vec()
        }),
    };
    if let Some(real) = real {
        task.with_stopped(|stopped| environment.memory.write(stopped, buffer, &real))?;
    }
    Ok(None)
}

/// The kernel does not implement the call for the descriptor's file system. (A path might mean to wait for somebody.)
fn by_table(task: &Traced, environment: &Environment) -> Result<Outcome> {
    let fd = int_argument(task.arguments[0]);
    let kind = procfs::path(task.tid, fd).and_then(|path| procfs::fstype_at(task.tid, &path));
    let (Call::Fstatfs, Abi::NATIVE, Some(kind)) = (task.call, task.abi, kind) else { return Ok(None) };
    let mut answer = [0; STRUCT_BYTES];
    answer[..MAGIC_BYTES].copy_from_slice(&with_magic(kind.magic()));
    let buffer = task.arguments[1];
    task.with_stopped(|stopped| environment.memory.write(stopped, buffer, &answer))?;
    environment.statistics.rewritten(&Rewritten {
        tid: task.tid,
        call: task.call,
        object: &|| format!("{fd} ({})", procfs::descriptor_name(task.tid, fd)),
        was: "not implemented",
        is: kind.name(),
    });
    Ok(Some(0))
}

/// Where the object of the call is mounted. A path is opened by the task itself, so that its own
/// root, folder and links decide; O_PATH has no side effects.
async fn mount_point(task: &Traced, by_descriptor: bool) -> Result<Option<Vec<u8>>> {
    if by_descriptor {
        return Ok(procfs::mount_point(task.tid, int_argument(task.arguments[0])));
    }
    let flags = u64::from((libc::O_PATH | libc::O_CLOEXEC).cast_unsigned());
    let arguments = [descriptor::AT_FDCWD, task.arguments[0], flags, 0, 0, 0];
    let Ok(fd) = task.inject(Injected::Openat, arguments).await? else { return Ok(None) };
    let mount_point = procfs::mount_point(task.tid, int_argument(fd));
    let _ = task.inject(Injected::Close, [fd, 0, 0, 0, 0, 0]).await?;
    Ok(mount_point)
}

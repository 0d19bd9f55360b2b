//! open(2), openat(2), openat2(2): what is worth a look, and who then looks.

use super::statfs::PATH_BYTES;
use super::{Environment, files, mount_table};
use crate::arch::{Call, int_argument};
use crate::ptrace::{Error, Result, Stopped};
use crate::rules::Rules;
use crate::rules::profile::last_component;
use crate::tracer::{Outcome, Traced};
use nix::errno::Errno;
use std::rc::Rc;

/// Why an open is worth a look, by the path's last component alone.
#[derive(Debug, Clone, Copy)]
pub struct Interest {
    /// It may be a mount table.
    pub mount_table: bool,
    /// Some file rule has this name.
    pub file_rule: bool,
}

/// An open, as its caller asked for it.
#[derive(Debug, Clone)]
pub struct Request {
    /// As in openat(2); AT_FDCWD for open(2).
    pub folder: i32,
    pub path: Vec<u8>,
    pub flags: i32,
    pub interest: Interest,
}

impl Request {
    /// The request that a task is about to make, or None where it can't be of interest. This is
    /// the way of nearly all opens that stop: a path is read, and no more.
    pub fn look(
        environment: &Environment,
        stopped: &Stopped,
        call: Call,
        arguments: [u64; 6],
    ) -> Result<Option<Request>> {
        let (folder, path, flags) = match call {
            Call::Open => (libc::AT_FDCWD, arguments[0], arguments[1]),
            _ => (int_argument(arguments[0]), arguments[1], arguments[2]),
        };
        let path = match environment.memory.read_string(stopped, path, PATH_BYTES) {
            Ok(path) => path,
            Err(error @ Error::Died(_)) => return Err(error),
            // The kernel will say so itself.
            Err(Error::Failed { errno: Errno::EFAULT | Errno::ENAMETOOLONG, .. }) => return Ok(None),
            Err(error) => {
                environment.warn_once(stopped.tid(), "memory", || {
                    format!("{error}: its mount tables are shown as they are; CAP_SYS_PTRACE would help")
                });
                return Ok(None);
            }
        };
        let interest = Interest {
            mount_table: Rules::may_be_mount_table(&path),
            file_rule: environment.files.has_name(last_component(&path)),
        };
        if !interest.mount_table && !interest.file_rule {
            return Ok(None);
        }
        let mut how = [0; 8];
        let flags = if call == Call::Openat2 {
            // The flags are the first word of `struct open_how`.
            if let Err(Error::Failed { .. }) = environment.memory.read(stopped, flags, &mut how) {
                return Ok(None);
            }
            u64::from_le_bytes(how)
        } else {
            flags
        };
        Ok(Some(Request { folder, path, flags: int_argument(flags), interest }))
    }

    /// O_RDONLY, O_WRONLY or O_RDWR.
    pub fn access(&self) -> i32 {
        self.flags & libc::O_ACCMODE
    }

    /// The flags that belong to the open file, so that `F_GETFL` says them.
    pub fn status_flags(&self) -> i32 {
        self.flags & (libc::O_ACCMODE | libc::O_APPEND | libc::O_NONBLOCK | libc::O_PATH)
    }

    pub fn close_on_exec(&self) -> bool {
        self.flags & libc::O_CLOEXEC != 0
    }
}

pub async fn handle(task: Traced, environment: Rc<Environment>, request: Request) -> Result<Outcome> {
    let result = task.run_call().await?;
    // A table opened by O_PATH can't be read; opened again by /proc/self/fd/N, it passes here again.
    let by_path_only = request.flags & libc::O_PATH != 0;
    if request.interest.mount_table && result >= 0 && !by_path_only {
        let fd = int_argument(result.cast_unsigned());
        return mount_table::mask(&task, &environment, &request, fd).await;
    }
    if request.interest.file_rule {
        return files::supply(&task, &environment, &request, result).await;
    }
    Ok(None)
}

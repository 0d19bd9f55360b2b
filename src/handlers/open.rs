//! open(2), openat(2), openat2(2): what is worth a look, and who then looks.

use super::statfs::PATH_BYTES;
use super::{Environment, files, mount_table};
use crate::arch::{Call, int_argument};
use crate::ptrace::{Error, Result, Stopped};
use crate::rules::profile::{FileRule, last_component};
use crate::rules::{MOUNT_TABLES, Rules};
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

impl Interest {
    fn of(environment: &Environment, path: &[u8]) -> Interest {
        Interest {
            mount_table: Rules::may_be_mount_table(path),
            file_rule: environment.files.has_name(last_component(path)),
        }
    }
}

/// What there is to say of an open at its entry.
#[derive(Debug)]
pub enum Look {
    /// Nobody looks.
    Uninteresting,
    Interesting(Request),
    /// Its path is not in memory yet; the kernel will bring it.
    NotYet,
}

/// The last components of paths whose opens matter, but for descriptors of procfs, which are numbers.
pub fn names(rules: &Rules) -> Vec<Vec<u8>> {
    let servers = SERVERS_OF_MEMORY.iter().map(|path| last_component(path));
    let supplied = rules.profile.files.iter().map(FileRule::file_name);
    MOUNT_TABLES.into_iter().chain(servers).chain(supplied).map(<[u8]>::to_vec).collect()
}

/// Whether an open of the path at this address matters.
pub fn is_interesting(environment: &Environment, stopped: &Stopped, path: u64) -> Result<bool> {
    let path = environment.memory.read_string(stopped, path, PATH_BYTES)?;
    let interest = Interest::of(environment, &path);
    Ok(interest.mount_table || interest.file_rule || is_server_of_memory(&path))
}

fn is_server_of_memory(path: &[u8]) -> bool {
    SERVERS_OF_MEMORY.iter().any(|device| path.ends_with(device))
}

/// Devices whose opener may become a server of other tasks' memory.
const SERVERS_OF_MEMORY: [&[u8]; 3] = [b"dev/fuse", b"dev/cuse", b"dev/userfaultfd"];

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
    /// The request that a task is about to make. Nearly all opens that stop are uninteresting: a path is read,
    /// and no more.
    pub fn look(
        environment: &Environment,
        stopped: &Stopped,
        call: Call,
        arguments: [u64; 6],
    ) -> Result<Look> {
        let (folder, path, flags) = match call {
            Call::Open => (libc::AT_FDCWD, arguments[0], arguments[1]),
            _ => (int_argument(arguments[0]), arguments[1], arguments[2]),
        };
        let path = match environment.memory.read_string(stopped, path, PATH_BYTES) {
            Ok(path) => path,
            Err(error @ Error::Died(_)) => return Err(error),
            Err(Error::Failed { errno: Errno::EAGAIN, .. }) => return Ok(Look::NotYet),
            // The kernel will say so itself.
            Err(Error::Failed { errno: Errno::EFAULT | Errno::ENAMETOOLONG, .. }) => {
                return Ok(Look::Uninteresting);
            }
            Err(error) => {
                environment.warn_once(stopped.tid(), "memory", || {
                    format!("{error}: its mount tables are shown as they are; CAP_SYS_PTRACE would help")
                });
                return Ok(Look::Uninteresting);
            }
        };
        if is_server_of_memory(&path) {
            environment.memory.be_careful();
        }
        let interest = Interest::of(environment, &path);
        if !interest.mount_table && !interest.file_rule {
            return Ok(Look::Uninteresting);
        }
        let mut how = [0; 8];
        let flags = if call == Call::Openat2 {
            // The flags are the first word of `struct open_how`.
            match environment.memory.read(stopped, flags, &mut how) {
                Ok(()) => {}
                Err(error @ Error::Died(_)) => return Err(error),
                Err(Error::Failed { errno: Errno::EAGAIN, .. }) => return Ok(Look::NotYet),
                Err(_) => return Ok(Look::Uninteresting),
            }
            u64::from_le_bytes(how)
        } else {
            flags
        };
        Ok(Look::Interesting(Request { folder, path, flags: int_argument(flags), interest }))
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
    opened(&task, &environment, &request, result).await
}

/// An open whose path could not be looked at before the kernel had brought it.
pub async fn handle_afterwards(task: Traced, environment: Rc<Environment>) -> Result<Outcome> {
    let result = task.run_call().await?;
    let look =
        task.with_stopped(|stopped| Request::look(&environment, stopped, task.call, task.arguments))?;
    match look {
        Look::Interesting(request) => opened(&task, &environment, &request, result).await,
        Look::Uninteresting | Look::NotYet => Ok(None),
    }
}

async fn opened(task: &Traced, environment: &Environment, request: &Request, result: i64) -> Result<Outcome> {
    // A table opened by O_PATH can't be read; opened again by /proc/self/fd/N, it passes here again.
    let is_readable = request.flags & libc::O_PATH == 0 && request.access() != libc::O_WRONLY;
    if request.interest.mount_table && result >= 0 && is_readable {
        let fd = int_argument(result.cast_unsigned());
        return mount_table::mask(task, environment, request, fd).await;
    }
    if request.interest.file_rule {
        return files::supply(task, environment, request, result).await;
    }
    Ok(None)
}

//! Giving a task a descriptor with content of ours. A descriptor can only be made by the task itself,
//! so the task is made to execute the calls for it.

use super::Environment;
use super::object::{Holder, Object, is_same};
use crate::arch::{Injected, int_argument};
use crate::ptrace::{Result, Tid};
use crate::tracer::{Outcome, Traced};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

/// `AT_FDCWD` as an argument.
pub const AT_FDCWD: u64 = (-100i64).cast_unsigned();
/// One page: room for any path.
const PAGE_BYTES: u64 = 4096;
/// memfd_create(2): the name's limit is 249 bytes.
const MEMFD_NAME_BYTES: usize = 249;
const MFD_CLOEXEC: u64 = 1;
const MFD_ALLOW_SEALING: u64 = 2;
/// fallocate(2).
const FALLOC_FL_KEEP_SIZE: u64 = 1;

/// What the descriptor is to be.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Shown by readlink, behind `/memfd:`.
    pub name: &'a [u8],
    pub content: Content<'a>,
    /// Access mode and status flags of open(2), or O_PATH. What can only be read is sealed.
    pub flags: i32,
    pub close_on_exec: bool,
    /// The descriptor to replace; None for a new one.
    pub replaced: Option<i32>,
}

/// What is to be in it.
pub enum Content<'a> {
    Ready(&'a [u8]),
    /// Made when it is written, so that many tasks at once don't keep many large texts; None: it can't be had any more.
    Later(&'a dyn Fn() -> Option<Vec<u8>>),
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Ready(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::Later(_) => f.write_str("made later"),
        }
    }
}

impl Content<'_> {
    fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Content::Ready(bytes) => Some(Cow::Borrowed(bytes)),
            Content::Later(make) => make().map(Cow::Owned),
        }
    }
}

/// What became of it.
#[derive(Debug)]
pub enum Given {
    /// The task's descriptor, and the tracer's own handle on the content.
    Descriptor(i32, File),
    /// An injected call failed. `outcome`: None where the task is as it was before; otherwise what its open
    /// has to answer, since the descriptor is gone.
    Refused { call: Injected, errno: nix::Error, outcome: Outcome },
}

/// A failed injected call.
struct Refusal(Injected, nix::Error);

/// What there is to know beside a refusal: whether the descriptor to replace has been given back.
#[derive(Default)]
struct Progress {
    closed: bool,
}

/// Makes the descriptor. The task's memory is not used: small stacks, red zones and strings shared
/// between threads leave no safe place, so it maps a page for the time being.
pub async fn give(task: &Traced, environment: &Environment, wanted: &Wanted<'_>) -> Result<Given> {
    let mut page = match Page::map(task).await? {
        Ok(page) => page,
        Err(Refusal(call, errno)) => return Ok(Given::Refused { call, errno, outcome: None }),
    };
    let mut progress = Progress::default();
    let given = with_page(task, environment, wanted, &mut page, &mut progress).await;
    page.unmap(task).await?;
    Ok(match given? {
        Ok((fd, file)) => Given::Descriptor(fd, file),
        Err(Refusal(call, errno)) => {
            let outcome = progress.closed.then_some(-i64::from(libc::EMFILE));
            Given::Refused { call, errno, outcome }
        }
    })
}

async fn with_page(
    task: &Traced,
    environment: &Environment,
    wanted: &Wanted<'_>,
    page: &mut Page,
    progress: &mut Progress,
) -> Result<std::result::Result<(i32, File), Refusal>> {
    let name = &wanted.name[..wanted.name.len().min(MEMFD_NAME_BYTES)];
    page.put(task, environment, name)?;
    let flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    let mut kept = None;
    let memfd = match inject(task, Injected::MemfdCreate, [page.address, flags, 0]).await? {
        // The descriptor that is to be replaced took the last number: give that back first. The
        // program has not seen it yet.
        Err(Refusal(_, nix::Error::EMFILE)) if wanted.replaced.is_some() => {
            // What is made of it has to be made before.
            kept = wanted.content.bytes();
            let number = wanted.replaced.map_or(u64::MAX, descriptor_argument);
            if let Err(refusal) = inject(task, Injected::Close, [number, 0, 0]).await? {
                return Ok(Err(refusal));
            }
            progress.closed = true;
            let at_exec = if wanted.close_on_exec { MFD_CLOEXEC } else { 0 };
            inject(task, Injected::MemfdCreate, [page.address, at_exec | MFD_ALLOW_SEALING, 0]).await?
        }
        answer => answer,
    };
    let memfd = match memfd {
        Ok(memfd) => memfd,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let content = kept.or_else(|| wanted.content.bytes());
    if let Some(content) = &content
        && task.abi.register_bytes() == 8
        && may_make_files(task.tid)
    {
        // The task makes the pages, so that they are its own memory cgroup's. Where that fails, writing makes them.
        // (32-bit programs have another form of the call; they are few.)
        let arguments = [memfd, FALLOC_FL_KEEP_SIZE, 0, content.len() as u64, 0, 0];
        let _ = task.inject(Injected::Fallocate, arguments).await?;
    }
    let filled = match content {
        Some(content) => fill(task, environment, int_argument(memfd), &content, wanted.flags),
        None => Err(std::io::Error::from_raw_os_error(libc::EBADF)),
    };
    let file = match filled {
        Ok(file) => file,
        Err(error) => {
            inject(task, Injected::Close, [memfd, 0, 0]).await?.ok();
            let errno = nix::Error::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            return Ok(Err(Refusal(Injected::MemfdCreate, errno)));
        }
    };
    if progress.closed {
        // No number is left to open it read-only: sealed, it can't be written either.
        return Ok(Ok((int_argument(memfd), file)));
    }
    let target = wanted.replaced.map_or(memfd, descriptor_argument);
    let opened = reopen(task, environment, page, memfd, wanted.flags, &file).await?;
    let source = opened.unwrap_or(memfd);
    let cloexec = if wanted.close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 };
    let mut result = Ok(());
    if source != target {
        let arguments = [source, target, u64::from(cloexec)];
        result = inject(task, Injected::Dup3, arguments).await?.map(drop);
        inject(task, Injected::Close, [source, 0, 0]).await?.ok();
    }
    if memfd != target && memfd != source {
        inject(task, Injected::Close, [memfd, 0, 0]).await?.ok();
    }
    Ok(result.map(|()| (int_argument(target), file)))
}

/// Whether no limit on the size of files would end the task (RLIMIT_FSIZE).
fn may_make_files(tid: Tid) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit, and reads none.
    let answer = unsafe { libc::prlimit(tid.0, libc::RLIMIT_FSIZE, std::ptr::null(), &raw mut limit) };
    answer == 0 && limit.rlim_cur == libc::RLIM_INFINITY
}

/// Opens the memfd once more with the access that the program asked for: a read-only descriptor then
/// answers a write with EBADF, as procfs's own does. None where that can't be had (no /proc).
async fn reopen(
    task: &Traced,
    environment: &Environment,
    page: &Page,
    memfd: u64,
    flags: i32,
    file: &File,
) -> Result<Option<u64>> {
    // A sibling may have put a FIFO there, which must not hold the task up. The flag is taken back afterwards, which
    // takes a share of the open file.
    let holder = Holder::of(task.tid).ok().filter(|holder| holder.descriptor(int_argument(memfd)).is_ok());
    let careful = if holder.is_some() { libc::O_NONBLOCK | libc::O_NOCTTY } else { 0 };
    // A thread may have descriptors of its own; older kernels and gVisor lack thread-self.
    for folder in ["thread-self", "self"] {
        page.put(task, environment, format!("/proc/{folder}/fd/{memfd}").as_bytes())?;
        let flags_now = u64::from((flags | careful | libc::O_CLOEXEC).cast_unsigned());
        if let Ok(fd) = inject(task, Injected::Openat, [AT_FDCWD, page.address, flags_now]).await? {
            if holder.is_some_and(|holder| !settle(&holder, int_argument(fd), flags, file)) {
                inject(task, Injected::Close, [fd, 0, 0]).await?.ok();
                return Ok(None);
            }
            return Ok(Some(fd));
        }
    }
    Ok(None)
}

/// Gives a new descriptor on `file` the flags that were asked for; false where it is something else.
fn settle(holder: &Holder, fd: i32, flags: i32, file: &File) -> bool {
    let Ok(share) = holder.descriptor(fd) else { return false };
    // SAFETY: no pointers; a descriptor that we own. O_PATH has no flags to set.
    is_same(&share, file)
        && (flags & (libc::O_NONBLOCK | libc::O_PATH) != 0
            || unsafe { libc::fcntl(share.as_raw_fd(), libc::F_SETFL, flags & libc::O_APPEND) } == 0)
}

/// Writes the content by the tracer's own handle.
fn fill(
    task: &Traced,
    environment: &Environment,
    memfd: i32,
    content: &[u8],
    flags: i32,
) -> std::io::Result<File> {
    let Some(mut file) = Object::of(task.tid, memfd)?.open_new_memfd(environment.memfd_device()?)? else {
        // A sibling that shares the descriptors put something else there.
        return Err(std::io::Error::from_raw_os_error(libc::EBADF));
    };
    file.write_all(content)?;
    if flags & (libc::O_ACCMODE | libc::O_PATH) == libc::O_RDONLY {
        file.set_permissions(std::fs::Permissions::from_mode(0o444))?;
        let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        // SAFETY: no pointers; a descriptor that we own.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(file)
}

/// A page of the task's memory that nobody else knows.
pub struct Page {
    pub address: u64,
}

impl Page {
    async fn map(task: &Traced) -> Result<std::result::Result<Page, Refusal>> {
        let protection = u64::from((libc::PROT_READ | libc::PROT_WRITE).cast_unsigned());
        // There at once, so that nobody has to wait for it.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let flags = u64::from(flags.cast_unsigned());
        let no_file = (-1i64).cast_unsigned();
        let arguments = [0, PAGE_BYTES, protection, flags, no_file, 0];
        let address = task.inject(Injected::Mmap, arguments).await?;
        Ok(address.map(|address| Page { address }).map_err(|e| Refusal(Injected::Mmap, e)))
    }

    /// Maps a page with `string` in it; None where the task may not map memory.
    pub async fn with_string(
        task: &Traced,
        environment: &Environment,
        string: &[u8],
    ) -> Result<Option<Page>> {
        let Ok(page) = Page::map(task).await? else { return Ok(None) };
        page.put(task, environment, string)?;
        Ok(Some(page))
    }

    /// Maps a page with the bytes in it that `content` makes for its address; None as above.
    pub async fn with(
        task: &Traced,
        environment: &Environment,
        content: impl Fn(u64) -> Vec<u8>,
    ) -> Result<Option<Page>> {
        let Ok(page) = Page::map(task).await? else { return Ok(None) };
        let bytes = content(page.address);
        debug_assert!(bytes.len() as u64 <= PAGE_BYTES);
        task.with_stopped(|stopped| environment.memory.write(stopped, page.address, &bytes))?;
        Ok(Some(page))
    }

    /// Writes a string, cut to the page, and its NUL.
    fn put(&self, task: &Traced, environment: &Environment, string: &[u8]) -> Result<()> {
        let mut bytes = string.to_vec();
        bytes.truncate(usize::try_from(PAGE_BYTES - 1).unwrap_or(0));
        bytes.push(0);
        task.with_stopped(|stopped| environment.memory.write(stopped, self.address, &bytes))
    }

    pub async fn unmap(self, task: &Traced) -> Result<()> {
        task.inject(Injected::Munmap, [self.address, PAGE_BYTES, 0, 0, 0, 0]).await.map(drop)
    }
}

fn descriptor_argument(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

async fn inject(
    task: &Traced,
    call: Injected,
    [a, b, c]: [u64; 3],
) -> Result<std::result::Result<u64, Refusal>> {
    Ok(task.inject(call, [a, b, c, 0, 0, 0]).await?.map_err(|errno| Refusal(call, errno)))
}

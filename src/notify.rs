//! The supervisor of tasks that were let go: seccomp(2)'s notifications, each answered with "go on". A thread of
//! its own does that, so the tracer's loop knows nothing of it.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit};
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Listeners at the most, where the limit of descriptors allows twice as many: the tracer needs some for itself.
const LISTENERS: u64 = 16_384;
/// linux/seccomp.h: SECCOMP_GET_ACTION_AVAIL; ioctls by _IOWR('!', 0 and 1, struct seccomp_notif{,_resp}) and
/// _IOW('!', 4, __u64).
const GET_ACTION_AVAIL: libc::c_uint = 2;
const IOCTL_RECEIVE: libc::c_ulong = 0xC050_2100;
const IOCTL_SEND: libc::c_ulong = 0xC018_2101;
const IOCTL_SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6): both sides on one processor.
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// Who answers for tasks without a tracer.
#[derive(Debug, Default)]
pub struct Supervisor {
    /// Made with the first listener.
    shared: OnceCell<Arc<Shared>>,
    /// How many have been adopted.
    adopted: Cell<u64>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    /// By a number of our own: a descriptor's may be another's by the time that an event is looked at.
    listeners: Mutex<HashMap<u64, OwnedFd>>,
    /// The last listener has gone.
    unused: Condvar,
}

impl Supervisor {
    /// Whether the kernel has what this needs, and there is room for one more listener. (gVisor kills the thread
    /// whose filter asks for a notification.)
    pub fn has_room(&self) -> bool {
        let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
        // SAFETY: the kernel reads one u32.
        let works = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) == 0 };
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| LISTENERS.min(soft / 2));
        works && self.start().is_ok_and(|shared| (shared.lock().len() as u64) < limit)
    }

    /// Takes over a listener; its filter's calls are answered from now on.
    pub fn adopt(&self, listener: OwnedFd) -> io::Result<()> {
        let shared = self.start()?;
        if !is_listener(&listener) {
            // A sibling has put something else there.
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // Only faster; older kernels lack it.
        // SAFETY: no pointers.
        unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_SET_FLAGS, SYNC_WAKE_UP) };
        let mut listeners = shared.lock();
        let number = self.adopted.get();
        self.adopted.set(number + 1);
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
        shared.epoll.add(&listener, event)?;
        listeners.insert(number, listener);
        Ok(())
    }

    /// Returns when no task is left whose calls have to be answered.
    pub fn wait_until_unused(&self) {
        let Some(shared) = self.shared.get() else { return };
        let mut listeners = shared.lock();
        while !listeners.is_empty() {
            listeners = shared.unused.wait(listeners).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn start(&self) -> io::Result<&Arc<Shared>> {
        if let Some(shared) = self.shared.get() {
            return Ok(shared);
        }
        let shared = Arc::new(Shared {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            listeners: Mutex::default(),
            unused: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        // A thread inherits the tracer's signal mask: all blocked.
        std::thread::Builder::new().name("supervisor".into()).spawn(move || of_thread.serve())?;
        Ok(self.shared.get_or_init(|| shared))
    }
}

impl Shared {
    /// A panic elsewhere leaves the map as good as it was.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, OwnedFd>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a listener whose last task has ended. Others may hold copies of it: epoll has to be told.
    fn forget(&self, number: u64) {
        let mut listeners = self.lock();
        if let Some(listener) = listeners.remove(&number) {
            let _ = self.epoll.delete(&listener);
        }
        if listeners.is_empty() {
            self.unused.notify_all();
        }
    }

    fn serve(&self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let Ok(ready) = self.epoll.wait(&mut events, EpollTimeout::NONE) else { continue };
            for event in &events[..ready] {
                let number = event.data();
                let listener = self.lock().get(&number).map(AsRawFd::as_raw_fd);
                let serves = event.events().contains(EpollFlags::EPOLLIN);
                if !(serves && listener.is_some_and(wave_through)) {
                    self.forget(number);
                }
            }
        }
    }
}

/// Whether the kernel made it for a filter: no file can be called so.
fn is_listener(descriptor: &OwnedFd) -> bool {
    let link = fs::read_link(format!("self/fd/{}", descriptor.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:seccomp notify")
}

/// `struct seccomp_notif_resp` (linux/seccomp.h).
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Answers one call: SECCOMP_USER_NOTIF_FLAG_CONTINUE. False where nothing can be had from it any more.
fn wave_through(listener: RawFd) -> bool {
    // `struct seccomp_notif` begins with the id; 80 bytes, and room for a longer one. All must be zero.
    let mut call = [0u64; 64];
    // SAFETY: the kernel writes one seccomp_notif, which is shorter than the buffer.
    if unsafe { libc::ioctl(listener, IOCTL_RECEIVE, call.as_mut_ptr()) } != 0 {
        // ENOENT: the task has died, or was interrupted, meanwhile.
        let errno = io::Error::last_os_error().raw_os_error();
        return matches!(errno, Some(libc::ENOENT | libc::EINTR));
    }
    let answer = Answer { id: call[0], value: 0, error: 0, flags: 1 };
    // SAFETY: the kernel reads one seccomp_notif_resp.
    unsafe { libc::ioctl(listener, IOCTL_SEND, &raw const answer) };
    true
}

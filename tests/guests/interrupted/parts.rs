//! What the calls have in common: the page that their processes share, descriptors, times.

use super::path_in;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

/// A page that the processes share.
pub struct Page {
    /// 1: about to make the call, 2: through.
    pub inside: AtomicU32,
    /// How often the handler ran.
    pub handled: AtomicU32,
    futex: AtomicU32,
}

static PAGE: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());

impl Page {
    pub fn map() {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, all zeroes, which is a value of the struct.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        PAGE.store(page.cast(), Ordering::SeqCst);
    }

    pub fn get() -> &'static Page {
        // SAFETY: mapped before anybody asks, and never unmapped.
        unsafe { &*PAGE.load(Ordering::SeqCst) }
    }
}

/// What a call is made with.
pub struct Around {
    pub patience: Duration,
    pub folder: String,
}

impl Around {
    pub fn timespec(&self) -> libc::timespec {
        let nanoseconds = i64::from(self.patience.subsec_nanos());
        libc::timespec { tv_sec: self.patience.as_secs().cast_signed(), tv_nsec: nanoseconds }
    }

    pub fn timeval(&self) -> libc::timeval {
        let microseconds = i64::from(self.patience.subsec_micros());
        libc::timeval { tv_sec: self.patience.as_secs().cast_signed(), tv_usec: microseconds }
    }

    pub fn milliseconds(&self) -> i32 {
        i32::try_from(self.patience.as_millis()).unwrap()
    }
}

/// A blocking call, and what ends it from another process, which is given the caller's id.
pub struct Call {
    pub block: Box<dyn Fn() -> i64>,
    pub release: Box<dyn Fn(i32)>,
}

pub fn call(block: impl Fn() -> i64 + 'static, release: impl Fn(i32) + 'static) -> Call {
    Call { block: Box::new(block), release: Box::new(release) }
}

/// The call's value or negative errno.
pub fn raw(result: impl Into<i64>) -> i64 {
    match result.into() {
        -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap()),
        value => value,
    }
}

macro_rules! syscall {
    ($number:expr, $($argument:expr),*) => {
        // SAFETY: what the arguments point to lives for the time of the call.
        $crate::guests::interrupted::parts::raw(unsafe { libc::syscall($number, $(($argument) as i64),*) })
    };
}
pub(super) use syscall;

pub fn pipe() -> (i32, i32) {
    let (read, write) = nix::unistd::pipe().unwrap();
    (read.into_raw_fd(), write.into_raw_fd())
}

pub fn sockets() -> (i32, i32) {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty()).unwrap();
    (a.into_raw_fd(), b.into_raw_fd())
}

pub fn write_byte(fd: i32) {
    assert_eq!(syscall!(libc::SYS_write, fd, b"xxxxxxxx".as_ptr(), 8), 8);
}

pub fn read_some(fd: i32) -> i64 {
    let mut bytes = [0u8; 8];
    syscall!(libc::SYS_read, fd, bytes.as_mut_ptr(), 8)
}

pub fn tell(pid: i32) {
    assert_eq!(syscall!(libc::SYS_kill, pid, libc::SIGUSR2), 0);
}

/// Blocks SIGUSR2; the set.
pub fn blocked() -> u64 {
    let set = 1u64 << (libc::SIGUSR2 - 1);
    assert_eq!(syscall!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const set, 0, 8), 0);
    set
}

pub fn with_timeout(fd: i32, option: i32, around: &Around) -> i32 {
    let time = around.timeval();
    assert_eq!(syscall!(libc::SYS_setsockopt, fd, libc::SOL_SOCKET, option, &raw const time, 16), 0);
    fd
}

/// An abstract address of this process.
pub fn address() -> (libc::sockaddr_un, u32) {
    // SAFETY: plain integers.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let name = format!("fsmasq-test-{}", std::process::id());
    for (to, from) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    (address, 2 + 1 + name.len() as u32)
}

pub fn listener() -> i32 {
    let (address, length) = address();
    let fd = socket(0);
    assert_eq!(syscall!(libc::SYS_bind, fd, &raw const address, length), 0);
    assert_eq!(syscall!(libc::SYS_listen, fd, 0), 0);
    fd
}

pub fn socket(flags: i32) -> i32 {
    syscall!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM | flags, 0) as i32
}

pub fn connect(fd: i32) -> i64 {
    let (address, length) = address();
    syscall!(libc::SYS_connect, fd, &raw const address, length)
}

pub fn polled(fd: i32) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

pub fn epoll(fd: i32) -> i32 {
    let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
    let epoll = syscall!(libc::SYS_epoll_create1, 0) as i32;
    assert_eq!(syscall!(libc::SYS_epoll_ctl, epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event), 0);
    epoll
}

pub fn event() -> libc::epoll_event {
    libc::epoll_event { events: 0, u64: 0 }
}

pub fn semaphore() -> i32 {
    syscall!(libc::SYS_semget, libc::IPC_PRIVATE, 1, 0o600) as i32
}

/// semtimedop, and the semaphore is gone.
pub fn wait_at(semaphore: i32, time: *const libc::timespec) -> i64 {
    let down = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
    let answer = syscall!(libc::SYS_semtimedop, semaphore, &raw const down, 1, time);
    assert_eq!(syscall!(libc::SYS_semctl, semaphore, 0, libc::IPC_RMID, 0), 0);
    answer
}

pub fn raise_semaphore(semaphore: i32) {
    let up = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 };
    // On a busy machine, whoever waited has given up before, and removed it.
    let answer = syscall!(libc::SYS_semop, semaphore, &raw const up, 1);
    assert!([0, -i64::from(libc::EINVAL), -i64::from(libc::EIDRM)].contains(&answer), "semop: {answer}");
}

/// A message of 1 KiB: type and text.
pub fn message() -> Vec<u64> {
    vec![1; 129]
}

pub fn queue() -> i32 {
    syscall!(libc::SYS_msgget, libc::IPC_PRIVATE, 0o600) as i32
}

pub fn send_message(queue: i32, flags: i32) -> i64 {
    syscall!(libc::SYS_msgsnd, queue, message().as_ptr(), 1024, flags)
}

pub fn receive_message(queue: i32) -> i64 {
    syscall!(libc::SYS_msgrcv, queue, message().as_mut_ptr(), 1024, 0, 0)
}

pub fn and_remove(queue: i32, answer: i64) -> i64 {
    assert_eq!(syscall!(libc::SYS_msgctl, queue, libc::IPC_RMID, 0), 0);
    answer
}

pub const FUTEX_WAIT_BITSET: i32 = 9;

pub fn futex(operation: i32, time: *const libc::timespec) -> i64 {
    syscall!(libc::SYS_futex, &raw const Page::get().futex, operation, 0, time, 0, u32::MAX)
}

pub fn wake() {
    Page::get().futex.store(1, Ordering::SeqCst);
    syscall!(libc::SYS_futex, &raw const Page::get().futex, libc::FUTEX_WAKE, 1, 0, 0, 0);
}

/// A child that ends when something is written.
pub fn child() -> (i32, i32) {
    let (read, write) = pipe();
    // SAFETY: one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        super::die_with_the_parent();
        read_some(read);
        // SAFETY: as above.
        unsafe { libc::_exit(0) }
    }
    (child, write)
}

pub fn file(around: &Around, name: &str, flags: i32) -> i32 {
    let path = path_in(&around.folder, name);
    syscall!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600) as i32
}

pub fn lock(fd: i32, command: i32, kind: i32) -> i64 {
    // SAFETY: plain integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as i16;
    syscall!(libc::SYS_fcntl, fd, command, &raw const lock)
}

/// A blocking open of a FIFO, whose name may be one that the tracer looks at.
pub fn fifo(around: &Around, name: &str) -> Call {
    let folder = path_in(&around.folder, "fifo");
    let path = super::string(&format!("{}/{name}", folder.to_str().unwrap()));
    assert_eq!(syscall!(libc::SYS_mkdir, folder.as_ptr(), 0o700), 0);
    assert_eq!(syscall!(libc::SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), libc::S_IFIFO | 0o600, 0), 0);
    let again = path.clone();
    call(
        move || syscall!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY, 0).min(0),
        move |_| {
            let flags = libc::O_WRONLY | libc::O_NONBLOCK;
            syscall!(libc::SYS_openat, libc::AT_FDCWD, again.as_ptr(), flags, 0);
        },
    )
}

pub fn connect_to(fd: i32) {
    // The name has the listener's id in it: that of the parent.
    // SAFETY: plain integers.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let name = format!("fsmasq-test-{}", std::os::unix::process::parent_id());
    for (to, from) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    assert_eq!(syscall!(libc::SYS_connect, fd, &raw const address, 2 + 1 + name.len() as u32), 0);
}

/// A time of a clock, after the call's patience.
pub fn from_now(around: &Around) -> libc::timespec {
    later(libc::CLOCK_MONOTONIC, around)
}

pub fn wall_clock_from_now(around: &Around) -> libc::timespec {
    later(libc::CLOCK_REALTIME, around)
}

pub fn later(clock: libc::clockid_t, around: &Around) -> libc::timespec {
    let mut time = around.timespec();
    assert_eq!(syscall!(libc::SYS_clock_gettime, clock, &raw mut time), 0);
    let nanoseconds = time.tv_nsec + around.timespec().tv_nsec;
    time.tv_sec += around.timespec().tv_sec + nanoseconds / 1_000_000_000;
    time.tv_nsec = nanoseconds % 1_000_000_000;
    time
}

/// Nothing but its time ends a sleep, or a handler.
pub fn kill_sleeper(pid: i32) {
    tell(pid);
}

//! Programs as supervisors start them, and as the first process of a namespace.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener};

/// A service of systemd's kind: says that it is ready, answers one caller at its socket where it was given one,
/// feeds the watchdog at SIGUSR1, and ends at SIGTERM with status 3.
pub fn service() -> ! {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGUSR1]);
    signals.thread_block().unwrap();
    let notify = |message: &str| {
        if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
            UnixDatagram::unbound().unwrap().send_to(message.as_bytes(), path).unwrap();
        }
    };
    let own = std::process::id().to_string();
    notify(&format!("READY=1\nMAINPID={own}"));
    if let Ok(count) = std::env::var("LISTEN_FDS") {
        assert_eq!((count.as_str(), std::env::var("LISTEN_PID").unwrap()), ("1", own.clone()));
        // SAFETY: 3 is the descriptor that the protocol says we were given.
        let listener = unsafe { UnixListener::from_raw_fd(3) };
        let (mut caller, _) = listener.accept().unwrap();
        write!(caller, "served by {own}").unwrap();
    }
    loop {
        match signals.wait().unwrap() {
            Signal::SIGUSR1 => notify("WATCHDOG=1"),
            _ => {
                notify("STOPPING=1");
                std::process::exit(3);
            }
        }
    }
}

/// Makes orphans, each with a status of its own, and reaps whoever becomes its child.
pub fn reaper() {
    const ORPHANS: i32 = 5;
    for number in 1..=ORPHANS {
        // SAFETY: one thread; the children only fork, wait and end.
        if let ForkResult::Child = unsafe { fork() }.unwrap() {
            // SAFETY: as above.
            if let ForkResult::Child = unsafe { fork() }.unwrap() {
                while nix::unistd::getppid() != Pid::from_raw(1) {
                    std::thread::yield_now();
                }
                std::process::exit(10 + number);
            }
            std::process::exit(number);
        }
    }
    let mut statuses = Vec::new();
    while let Ok(status) = waitpid(None, None) {
        let WaitStatus::Exited(_, status) = status else { panic!("{status:?}") };
        statuses.push(status);
    }
    statuses.sort_unstable();
    println!("{statuses:?}");
}

/// Waits until the first process waits.
fn until_asleep() {
    while !std::fs::read_to_string("/proc/1/stat").unwrap().contains(") S ") {
        std::thread::yield_now();
    }
}

extern "C" fn on_signal(_: libc::c_int) {}

/// The first process of a namespace waits for its child; the child sends it signals, of which it handles one.
pub fn init_signals() {
    // SAFETY: a handler that does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // SAFETY: one thread; the child sends signals and ends.
    if let ForkResult::Child = unsafe { fork() }.unwrap() {
        drop(ours);
        let init = Pid::from_raw(1);
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL, Signal::SIGUSR2] {
            until_asleep();
            kill(init, signal).unwrap();
        }
        theirs.write_all(b"t").unwrap();
        theirs.read_exact(&mut [0]).unwrap();
        for _ in 0..20 {
            until_asleep();
            kill(init, Signal::SIGTERM).unwrap();
        }
        theirs.write_all(b"u").unwrap();
        theirs.read_exact(&mut [0]).unwrap();
        kill(init, Signal::SIGUSR1).unwrap();
        std::process::exit(0);
    }
    drop(theirs);
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    epoll.add(&ours, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
    let mut wait = |what: &str| {
        // A call that is never made again by itself.
        assert_eq!(epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE), Ok(1));
        let mut byte = [0];
        ours.read_exact(&mut byte).unwrap();
        ours.write_all(&byte).unwrap();
        println!("{what}");
    };
    wait("several signals without a handler did nothing");
    wait("nor did they interrupt a call");
    waitpid(None, None).unwrap();
    println!("the end");
}

/// Closes its output, waits for a line at a FIFO, and ends with a status of its own.
pub fn keeps_on(gate: &str) -> ! {
    println!("here");
    // SAFETY: nobody uses them any more.
    unsafe {
        libc::close(0);
        libc::close(1);
    }
    let _ = std::fs::read(gate).unwrap();
    std::process::exit(4);
}

/// Takes memory until somebody ends it.
pub fn hog() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1u8; 1 << 20]);
    }
}

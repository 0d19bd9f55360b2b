//! Threads, children, signals.

use super::calls::{checked, string};
use super::tables::become_guest;
use std::fs;
use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Many threads open tables at once.
pub fn threads(path: &str) {
    const THREADS: usize = 64;
    let first = fs::read(path).unwrap();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..5 {
                    assert!(fs::read(path).unwrap() == first, "another table");
                    assert_eq!(magic("/"), magic("/"));
                }
            });
        }
    });
    std::io::stdout().write_all(&first).unwrap();
}

pub fn magic(path: &str) -> i64 {
    let path = string(path);
    // SAFETY: plain integers; a string that ends in NUL.
    unsafe {
        let mut buffer: libc::statfs = std::mem::zeroed();
        assert_eq!(libc::statfs(path.as_ptr(), &raw mut buffer), 0);
        buffer.f_type
    }
}

static ALARMS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_alarm(_: libc::c_int) {
    ALARMS.fetch_add(1, Ordering::Relaxed);
    // A handler that makes a call which is rewritten itself.
    // SAFETY: plain integers; a constant string. The errno of the interrupted code is kept.
    unsafe {
        let errno = *libc::__errno_location();
        let mut buffer: libc::statfs = std::mem::zeroed();
        libc::statfs(c"/dev/shm".as_ptr(), &raw mut buffer);
        *libc::__errno_location() = errno;
    }
}

/// Tables while signals come all the time.
pub fn signals(path: &str) {
    let first = fs::read(path).unwrap();
    // SAFETY: the handler does nothing that is not allowed in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        let often = libc::timeval { tv_sec: 0, tv_usec: 2000 };
        let timer = libc::itimerval { it_interval: often, it_value: often };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
    let mut rounds = 0;
    while ALARMS.load(Ordering::Relaxed) < 200 || rounds < 50 {
        assert!(fs::read(path).unwrap() == first, "another table");
        assert_eq!(magic("/"), magic("/"));
        rounds += 1;
    }
    // SAFETY: no pointers.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_IGN) };
    std::io::stdout().write_all(&first).unwrap();
}

/// Signals that a process ignores do not interrupt its calls.
pub fn ignored_signals() {
    let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let parent = nix::unistd::Pid::this();
    const ROUNDS: usize = 100;
    // SAFETY: one thread, and the child only makes calls of its own.
    let child = match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
            for _ in 0..ROUNDS {
                for _ in 0..10 {
                    nix::sys::signal::kill(parent, nix::sys::signal::Signal::SIGWINCH).unwrap();
                    std::thread::yield_now();
                }
                theirs.write_all(b"x").unwrap();
                theirs.read_exact(&mut [0]).unwrap();
            }
            std::process::exit(0)
        }
        nix::unistd::ForkResult::Parent { child } => child,
    };
    // SAFETY: structs of ours.
    unsafe {
        let epoll = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
        assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, ours.as_raw_fd(), &raw mut event), 0);
        let patience = libc::timeval { tv_sec: 50, tv_usec: 0 };
        assert_eq!(
            libc::setsockopt(
                ours.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const patience).cast(),
                16
            ),
            0
        );
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                let ready = libc::epoll_wait(epoll, &raw mut event, 1, -1);
                assert_eq!(ready, 1, "epoll_wait: {}", std::io::Error::last_os_error());
            }
            let mut byte = 0u8;
            let read = libc::recv(ours.as_raw_fd(), (&raw mut byte).cast(), 1, 0);
            assert_eq!(read, 1, "recv: {}", std::io::Error::last_os_error());
            ours.write_all(b"y").unwrap();
        }
    }
    nix::sys::wait::waitpid(child, None).unwrap();
    println!("never interrupted");
}

/// Children, many at a time.
pub fn fork_storm(path: &str) {
    let expected = fs::read(path).unwrap();
    for _ in 0..20 {
        let children: Vec<i32> = (0..20)
            .map(|_| {
                // SAFETY: one thread; the child reads, compares and ends.
                let child = unsafe { libc::fork() };
                assert!(child >= 0);
                if child == 0 {
                    let same = fs::read(path).unwrap() == expected;
                    // SAFETY: as above.
                    unsafe { libc::_exit(i32::from(!same)) }
                }
                child
            })
            .collect();
        for child in children {
            let mut status = 0;
            // SAFETY: a local variable.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    std::io::stdout().write_all(&expected).unwrap();
}

/// A thread that is not the leader executes a program, while 50 siblings open tables.
pub fn exec_in_thread(path: &str) -> ! {
    let path: &'static str = path.to_owned().leak();
    let ready: &'static Barrier = Box::leak(Box::new(Barrier::new(51)));
    for _ in 0..50 {
        std::thread::spawn(move || {
            ready.wait();
            loop {
                // The exec may come in between: only what was read counts.
                let _ = fs::read(path);
            }
        });
    }
    std::thread::spawn(move || {
        ready.wait();
        become_guest("table", &["openat", path]);
    });
    // The leader is in the middle of something as well.
    loop {
        let _ = fs::read(path);
    }
}

/// A child that asks not to be traced, made by `clone` or `clone3`.
pub fn untraced_clone(call: &str, path: &str) {
    let name = string(path);
    let flags = u64::from(libc::CLONE_UNTRACED.cast_unsigned());
    let exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: like fork, without a new stack; the child makes calls and ends.
    let child = unsafe {
        if call == "clone3" {
            let arguments: [u64; 8] = [flags, 0, 0, 0, exit_signal, 0, 0, 0];
            libc::syscall(libc::SYS_clone3, arguments.as_ptr(), 64)
        } else {
            libc::syscall(libc::SYS_clone, flags | exit_signal, 0, 0, 0, 0)
        }
    };
    if child == 0 {
        // SAFETY: plain integers; a string that ends in NUL.
        unsafe {
            let mut buffer: libc::statfs = std::mem::zeroed();
            let result = checked(libc::syscall(libc::SYS_statfs, name.as_ptr(), &raw mut buffer));
            libc::_exit(result.err().unwrap_or(0));
        }
    }
    let mut status = 0;
    // SAFETY: a local variable.
    unsafe { libc::waitpid(i32::try_from(child).unwrap(), &raw mut status, 0) };
    println!("errno of statfs: {}", libc::WEXITSTATUS(status));
}

/// Leaves a process behind, which waits at a FIFO and then reports what it sees.
pub fn survivor(gate: &str, report: &str, path: &str) {
    // SAFETY: one thread.
    if unsafe { libc::fork() } != 0 {
        println!("the command ends");
        std::process::exit(3);
    }
    // SAFETY: no pointers.
    unsafe {
        libc::setsid();
        for fd in 0..3 {
            libc::close(fd);
        }
    }
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    std::mem::forget(null);
    let _ = fs::read(gate).unwrap();
    let text = fs::read(path).unwrap();
    let mut report = fs::OpenOptions::new().write(true).open(report).unwrap();
    writeln!(report, "{:#x}", magic("/dev/shm")).unwrap();
    report.write_all(&text).unwrap();
}

/// Waits for a child, having made none.
pub fn wait_for_any() {
    // The second one waits for as long as there is any child.
    for options in [libc::WNOHANG, 0] {
        // SAFETY: nobody wants the status.
        let result = unsafe { libc::syscall(libc::SYS_wait4, -1, 0, options, 0) };
        println!("wait4 with {options}: {:?}", checked(result));
        assert_eq!(result, -1, "a child");
    }
}

/// Says that it is there, waits for a line, and repeats it.
pub fn wait_for_a_line() {
    println!("ready {}", std::process::id());
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    print!("{line}");
}

/// Dies of a signal.
pub fn raise(signal: i32) {
    // SAFETY: no pointers; no core file, whatever the limit was.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
    panic!("survived signal {signal}");
}

/// Reads where nothing is mapped.
pub fn crash() {
    // SAFETY: no pointers; no core file.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        std::arch::asm!("mov rax, [rax]", in("rax") 8usize);
    }
}

/// Real and effective user.
pub fn ids() {
    // SAFETY: no preconditions.
    unsafe { println!("{} {}", libc::getuid(), libc::geteuid()) };
}

//! Tables, while signals come all the time: none is lost or doubled, and nothing of the program changes.

use super::super::calls::string;
use super::super::registers::{WORDS, fsmasq_test_probe};
use super::{raw, read_all};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Queued signals, and how often the process is stopped.
const QUEUED: i32 = 1500;
const STOPS: i32 = 150;
const PROBES: u32 = 300;

static SIGNALS: AtomicU32 = AtomicU32::new(0);
/// Values of queued signals: the next one that is expected, and how many were others.
static NEXT: AtomicI32 = AtomicI32::new(0);
static OUT_OF_ORDER: AtomicU32 = AtomicU32::new(0);
static OFF_THE_STACK: AtomicU32 = AtomicU32::new(0);
static STACK: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_value(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives it; sigqueue's value is a pointer-sized number.
    let value = unsafe { (*info).si_value().sival_ptr } as usize as i32;
    if NEXT.fetch_add(1, Ordering::SeqCst) != value {
        OUT_OF_ORDER.fetch_add(1, Ordering::SeqCst);
    }
    count_stack();
}

/// Changes registers and flags, and makes a call that is rewritten itself.
extern "C" fn on_tick(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
    count_stack();
    let mut answer = [0u64; 15];
    // SAFETY: the registers are named as changed; room for the struct.
    unsafe {
        std::arch::asm!("pxor xmm0, xmm0", "pxor xmm15, xmm15", out("xmm0") _, out("xmm15") _);
        let errno = *libc::__errno_location();
        raw!(libc::SYS_statfs, c"/".as_ptr(), answer.as_mut_ptr());
        *libc::__errno_location() = errno;
    }
}

fn count_stack() {
    let here = 0u8;
    // The alternative stack is found again by the lower half of its address.
    let distance = (&raw const here as i32).wrapping_sub(STACK.load(Ordering::SeqCst));
    if !(0..1 << 17).contains(&distance) {
        OFF_THE_STACK.fetch_add(1, Ordering::SeqCst);
    }
}

fn handle(signal: i32, handler: usize, flags: i32) {
    // SAFETY: structs of plain integers; a stack that is never freed.
    unsafe {
        let stack = Box::leak(vec![0u8; 1 << 17].into_boxed_slice()).as_mut_ptr();
        STACK.store(stack as i32, Ordering::SeqCst);
        let alternative = libc::stack_t { ss_sp: stack.cast(), ss_flags: 0, ss_size: 1 << 17 };
        assert_eq!(libc::sigaltstack(&raw const alternative, std::ptr::null_mut()), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags | libc::SA_ONSTACK | libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

fn mask() -> u64 {
    let mut mask = 0u64;
    assert_eq!(raw!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, 0, &raw mut mask, 8), 0);
    mask
}

/// The table, read once more; the mask of blocked signals must stay.
fn read(path: &std::ffi::CStr) -> &'static [u8] {
    let before = mask();
    let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY, 0);
    assert_eq!(mask(), before, "the mask of signals");
    assert!(fd >= 0, "open: {fd}");
    let text = read_all(fd);
    assert_eq!(raw!(libc::SYS_close, fd), 0);
    text
}

/// `queued|registers|stops TABLE`.
pub fn show(what: &str, path: &str) {
    let path = string(path);
    let first = read(&path).to_vec();
    assert!(!first.is_empty());
    match what {
        "queued" => queued(&path, &first),
        "registers" => registers(&path),
        "stops" => stops(&path, &first),
        other => panic!("no storm {other}"),
    }
    assert_eq!(OFF_THE_STACK.load(Ordering::SeqCst), 0, "handlers off the alternative stack");
    println!("{what}: nothing lost");
    use std::io::Write;
    std::io::stdout().write_all(&first).unwrap();
}

/// Forks; what the child does to its parent.
fn beside(attack: impl FnOnce(i32)) -> i32 {
    // SAFETY: one thread.
    let parent = unsafe { libc::getpid() };
    // SAFETY: as above.
    let child = unsafe { libc::fork() };
    if child == 0 {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
        attack(parent);
        // SAFETY: as above.
        unsafe { libc::_exit(0) }
    }
    child
}

fn wait_for(child: i32) {
    let mut status = 0;
    // SAFETY: a local variable.
    unsafe {
        while libc::waitpid(child, &raw mut status, 0) == -1 {
            assert_eq!(*libc::__errno_location(), libc::EINTR);
        }
    }
    assert_eq!(status, 0);
}

/// Real-time signals are queued: each comes once, in order.
fn queued(path: &std::ffi::CStr, first: &[u8]) {
    let signal = libc::SIGRTMIN() + 3;
    handle(signal, on_value as *const () as usize, libc::SA_SIGINFO);
    let child = beside(|parent| {
        for value in 0..QUEUED {
            let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(value as usize) };
            // SAFETY: no pointers but one that is a number.
            while unsafe { libc::sigqueue(parent, signal, value) } != 0 {
                std::thread::yield_now();
            }
            if NEXT.load(Ordering::SeqCst) % 3 == 0 {
                std::thread::yield_now();
            }
        }
    });
    while NEXT.load(Ordering::SeqCst) < QUEUED {
        assert!(read(path) == first, "another table");
    }
    wait_for(child);
    assert!(read(path) == first, "another table");
    assert_eq!(NEXT.load(Ordering::SeqCst), QUEUED, "handlers that ran");
    assert_eq!(OUT_OF_ORDER.load(Ordering::SeqCst), 0);
}

/// Every register, flags and the red zone, with a timer of 1 ms.
fn registers(path: &std::ffi::CStr) {
    let probe = || {
        let mut seen = [0; WORDS];
        // SAFETY: the routine follows the C calling convention and stores WORDS words at most.
        unsafe { fsmasq_test_probe(path.as_ptr(), &raw mut seen) };
        assert_eq!(raw!(libc::SYS_close, seen[0]), 0);
        seen
    };
    let expected = probe();
    handle(libc::SIGALRM, on_tick as *const () as usize, 0);
    set_timer(1000);
    let mut probes = 0;
    while probes < PROBES || SIGNALS.load(Ordering::SeqCst) < PROBES / 4 {
        assert_eq!(probe(), expected);
        probes += 1;
    }
    set_timer(0);
}

fn set_timer(microseconds: i64) {
    let often = libc::timeval { tv_sec: 0, tv_usec: microseconds };
    let timer = libc::itimerval { it_interval: often, it_value: often };
    assert_eq!(raw!(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0), 0);
}

/// SIGSTOP can't be blocked, so it comes in the middle of injected calls as well.
fn stops(path: &std::ffi::CStr, first: &[u8]) {
    let child = beside(|parent| {
        let stat = format!("/proc/{parent}/stat");
        for _ in 0..STOPS {
            raw!(libc::SYS_kill, parent, libc::SIGSTOP);
            // A traced process that has stopped says `t`.
            while !std::fs::read_to_string(&stat)
                .unwrap()
                .rsplit_once(") ")
                .unwrap()
                .1
                .starts_with(['T', 't'])
            {
                std::thread::yield_now();
            }
            raw!(libc::SYS_kill, parent, libc::SIGCONT);
            std::thread::yield_now();
        }
    });
    // SAFETY: a local variable.
    while unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) } == 0 {
        assert!(read(path) == first, "another table");
    }
    assert!(read(path) == first, "another table");
}

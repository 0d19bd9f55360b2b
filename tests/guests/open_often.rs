//! Opens from one place again and again, while all kinds of things happen. Says only what differs between runs where
//! something is wrong.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Files with names like those of tables and descriptors, and nearly so.
const NAMES: [&str; 12] = [
    "mounts",
    "mountinfo",
    "mtab",
    "m",
    "ab",
    "xmounts",
    "mounts.1",
    "12",
    "77",
    "1234567",
    "12345678",
    "fd9",
];

const PLAIN: &CStr = c"/proc/version";
const TABLE: &CStr = c"/proc/self/mounts";

/// All opens of this guest are made by this one call of the C library's.
fn open(path: *const libc::c_char, flags: i32) -> i32 {
    // SAFETY: the kernel checks the pointer.
    unsafe { libc::open(path, flags | libc::O_CLOEXEC) }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

fn close(fd: i32) {
    // SAFETY: no pointers.
    unsafe { libc::close(fd) };
}

/// So often that the site is patched.
fn warm_up() {
    for _ in 0..20 {
        close(open(PLAIN.as_ptr(), 0));
    }
}

fn table() -> Vec<u8> {
    content(TABLE)
}

fn say(bytes: &[u8]) {
    std::io::Write::write_all(&mut std::io::stdout(), bytes).unwrap();
}

fn content(path: &CStr) -> Vec<u8> {
    let fd = open(path.as_ptr(), 0);
    assert!(fd >= 0, "{path:?}: {}", errno());
    let mut bytes = Vec::new();
    // SAFETY: a descriptor of our own.
    let mut file = unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

pub fn show(what: &str, argument: &str) {
    match what {
        "count" => count(argument.parse().unwrap()),
        "paths" => paths(argument),
        "bad-pointers" => bad_pointers(),
        "signals" => signals(),
        "jumps" => jumps(),
        "threads" => threads(argument.parse().unwrap()),
        "children" => children(),
        "place-taken" => place_taken(argument),
        "fifo" => fifo(argument),
        "numbers" => numbers(),
        "traces" => traces(),
        "trapped" => trapped(),
        _ => panic!("{what}"),
    }
}

fn count(times: u32) {
    for _ in 0..times {
        let fd = open(PLAIN.as_ptr(), 0);
        assert!(fd >= 0);
        close(fd);
        assert_eq!((open(c"/proc/no such file".as_ptr(), 0), errno()), (-1, libc::ENOENT));
    }
    say(&table());
}

/// Every spelling of a path: what is opened, and its first bytes.
fn paths(folder: &str) {
    warm_up();
    std::fs::write(format!("{folder}/plain"), "plain\n").unwrap();
    std::env::set_current_dir(folder).unwrap();
    let table = std::fs::File::open("/proc/self/mounts").unwrap();
    // SAFETY: no pointers; the numbers are free.
    unsafe { assert!(libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&table), 77) == 77) };
    for name in NAMES {
        std::fs::write(name, name).unwrap();
    }
    let long = format!("{}{folder}/mounts", "/.".repeat(1900));
    let long_plain = format!("{}{folder}/plain", "/.".repeat(1900));
    let too_long = format!("{}{folder}/plain", "/.".repeat(2100));
    let elsewhere = [
        "",
        ".",
        "/",
        "plain",
        "./plain",
        "plain/",
        "./mounts",
        "mounts/",
        "/proc/self/mounts",
        "/proc/self//mounts",
        "/proc/self/mounts/",
        "/proc/self/mountinfo",
        "/proc/thread-self/mounts",
        "/proc/mounts",
        "/etc/mtab",
        "/proc/self/fd/77",
        "/dev/fd/77",
        "/proc/self/fd/0000077",
        "/proc/self/fd/",
        "/proc/self/fd/778899",
        "/proc/self/fd/77889911",
        "/proc/self/mountstats",
        "../proc/self/mounts",
        "/proc/1234567",
        "no/mounts",
    ];
    let mut spellings: Vec<String> = NAMES.iter().chain(&elsewhere).map(|s| (*s).to_owned()).collect();
    spellings.extend([long, long_plain, too_long]);
    for flags in [
        libc::O_RDONLY,
        libc::O_RDWR,
        libc::O_PATH,
        libc::O_DIRECTORY,
        libc::O_WRONLY | libc::O_CREAT,
        libc::O_NONBLOCK,
    ] {
        for spelling in &spellings {
            let path = CString::new(spelling.as_str()).unwrap();
            // SAFETY: as for `open`; a mode for O_CREAT.
            let fd = open(path.as_ptr(), flags);
            let shown = &spelling[spelling.len().saturating_sub(30)..];
            if fd < 0 {
                println!("{flags:#o} {shown}: errno {}", errno());
                continue;
            }
            let mut text = Vec::new();
            let mut bytes = [0u8; 1000];
            loop {
                // SAFETY: the kernel writes into our buffer, or refuses.
                let read = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
                let Ok(read @ 1..) = usize::try_from(read) else { break };
                text.extend_from_slice(&bytes[..read]);
            }
            // SAFETY: no pointers.
            let flags_now = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
            println!("{flags:#o} {shown}: {fd} {flags_now:?}");
            say(&text);
            close(fd);
        }
    }
}

fn dispositions() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Pointers that lead nowhere, with SIGSEGV as it is, ignored and blocked.
fn bad_pointers() {
    warm_up();
    // SAFETY: a mapping of our own: one page that is there, and one that is not.
    let page: *mut u8 = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let pages = libc::mmap(std::ptr::null_mut(), 8192, protection, flags, -1, 0);
        assert_eq!(libc::mprotect(pages.add(4096), 4096, libc::PROT_NONE), 0);
        pages.cast()
    };
    // SAFETY: the last three bytes of the page.
    unsafe { std::ptr::copy_nonoverlapping(b"abc".as_ptr(), page.add(4093), 3) };
    let pointers: [usize; 6] =
        [0, 1, page as usize + 4093, page as usize + 4096, usize::MAX - 1, 0x8000_0000_0000];
    for way in ["default", "ignored", "blocked"] {
        // SAFETY: signals of this process alone.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&raw mut set, libc::SIGSEGV);
            libc::sigaddset(&raw mut set, libc::SIGBUS);
            match way {
                "ignored" => drop(libc::signal(libc::SIGSEGV, libc::SIG_IGN)),
                "blocked" => drop(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())),
                _ => {}
            }
        }
        let before = dispositions();
        for pointer in pointers {
            println!("{way}: {} {}", open(pointer as *const libc::c_char, 0), errno());
        }
        assert_eq!(dispositions(), before);
    }
    // The string ends with the page.
    // SAFETY: as above.
    unsafe { std::ptr::copy_nonoverlapping(c"/".as_ptr().cast(), page.add(4094), 2) };
    let fd = open((page as usize + 4094) as *const libc::c_char, 0);
    println!("at the end of a page: {fd}");
}

static SEEN: AtomicU64 = AtomicU64::new(0);
static STRANGE: AtomicI64 = AtomicI64::new(0);

extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a ucontext.
    let instruction =
        unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] };
    SEEN.fetch_add(1, Ordering::Relaxed);
    // Nothing of this program's or its libraries' is so far down.
    if (0..0x1000_0000).contains(&instruction) {
        STRANGE.store(instruction, Ordering::Relaxed);
    }
}

fn start_timer(handler: usize) {
    // SAFETY: plain structs; the handler only touches atomics, or jumps.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        let every = libc::timeval { tv_sec: 0, tv_usec: 500 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
}

/// A timer interrupts all the time, and its handler looks where.
fn signals() {
    warm_up();
    let expected = table();
    start_timer(on_signal as *const () as usize);
    // Where a table has just been opened, and nobody has looked at it yet, a handler finds the program in a stub.
    while SEEN.load(Ordering::Relaxed) < 1000 {
        let fd = open(PLAIN.as_ptr(), 0);
        assert!(fd >= 0, "{}", errno());
        close(fd);
        assert_eq!((open(c"/proc/no such file".as_ptr(), 0), errno()), (-1, libc::ENOENT));
    }
    let strange = STRANGE.load(Ordering::Relaxed);
    assert_eq!(strange, 0, "a handler saw {strange:#x}");
    for _ in 0..20 {
        assert_eq!(table(), expected);
    }
    say(&expected);
}

unsafe extern "C" {
    #[link_name = "__sigsetjmp"]
    fn sigsetjmp(buffer: *mut [u64; 40], save: i32) -> i32;
    fn siglongjmp(buffer: *mut [u64; 40], value: i32) -> !;
}

static mut BUFFER: [u64; 40] = [0; 40];

extern "C" fn on_signal_jump(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    SEEN.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the frame that has set it is still there.
    unsafe { siglongjmp(&raw mut BUFFER, 1) };
}

/// Handlers jump out of opens.
fn jumps() {
    warm_up();
    let expected = table();
    // SAFETY: all that lives across the jump is in memory that the compiler can't keep in registers.
    unsafe { sigsetjmp(&raw mut BUFFER, 1) };
    if SEEN.load(Ordering::Relaxed) == 0 {
        start_timer(on_signal_jump as *const () as usize);
    }
    while SEEN.load(Ordering::Relaxed) < 1000 {
        // A descriptor that a jump leaves open is this program's own fault.
        close(open(PLAIN.as_ptr(), 0));
        // SAFETY: no pointers.
        unsafe { libc::syscall(libc::SYS_close_range, 3, !0u32, 0) };
    }
    // SAFETY: a plain struct.
    unsafe {
        let timer: libc::itimerval = std::mem::zeroed();
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
    }
    assert_eq!(table(), expected);
    say(&expected);
}

/// Threads open from the first moment on, so that the site is patched below them.
fn threads(count: usize) {
    let opened = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                for _ in 0..300 {
                    let fd = open(PLAIN.as_ptr(), 0);
                    assert!(fd >= 0, "{}", errno());
                    close(fd);
                    assert_eq!((open(c"/proc/no such file".as_ptr(), 0), errno()), (-1, libc::ENOENT));
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} opened", opened.into_inner());
    say(&table());
}

/// Children of every kind open from the patched site.
fn children() {
    warm_up();
    for way in ["fork", "vfork", "shared"] {
        std::io::Write::flush(&mut std::io::stdout()).unwrap();
        let child = || {
            for _ in 0..20 {
                let fd = open(PLAIN.as_ptr(), 0);
                if fd < 0 {
                    // SAFETY: no pointers.
                    unsafe { libc::_exit(1) };
                }
                close(fd);
            }
            let fd = open(TABLE.as_ptr(), 0);
            let mut bytes = [0u8; 4096];
            // SAFETY: a buffer of our own; nothing that the parent has is touched.
            unsafe {
                while let Ok(read @ 1..) =
                    usize::try_from(libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()))
                {
                    libc::write(1, bytes.as_ptr().cast(), read);
                }
                libc::_exit(0);
            }
        };
        let flags = match way {
            "vfork" => libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            _ => libc::SIGCHLD,
        };
        let mut status = 0;
        if way == "shared" {
            extern "C" fn shared(_: *mut libc::c_void) -> i32 {
                for _ in 0..20 {
                    close(open(PLAIN.as_ptr(), 0));
                }
                0
            }
            let mut stack = vec![0u8; 1 << 18];
            // SAFETY: a stack of its own; the parent waits for the end.
            unsafe {
                let top = stack.as_mut_ptr().add(1 << 18).cast();
                let pid = libc::clone(shared, top, libc::CLONE_VM | libc::SIGCHLD, std::ptr::null_mut());
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            }
        } else {
            // SAFETY: the child of a vfork has a frame of its own below this one, and ends without returning.
            unsafe {
                let pid = if way == "vfork" {
                    let mut stack = vec![0u8; 1 << 18];
                    extern "C" fn run(argument: *mut libc::c_void) -> i32 {
                        // SAFETY: the closure outlives the child, for the parent waits.
                        unsafe { (*argument.cast::<&dyn Fn()>())() };
                        0
                    }
                    let mut body: &dyn Fn() = &child;
                    libc::clone(run, stack.as_mut_ptr().add(1 << 18).cast(), flags, (&raw mut body).cast())
                } else {
                    libc::fork()
                };
                if pid == 0 {
                    child();
                }
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            }
        }
        println!("{way}: {status}");
    }
    let output =
        std::process::Command::new("cat").args(["/proc/version", "/proc/self/mounts"]).output().unwrap();
    say(&output.stdout);
}

/// The program has something at the place of the stubs, or takes it afterwards.
fn place_taken(when: &str) {
    let take = || {
        let mut mine = Vec::new();
        for place in [0x050F_0000_usize, 0x0018_0000] {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            // SAFETY: nothing is there, or the kernel refuses.
            let taken = unsafe { libc::mmap(place as *mut _, 4096, protection, flags, -1, 0) };
            if taken == place as *mut _ {
                // SAFETY: just mapped.
                unsafe { std::ptr::write_bytes(taken.cast::<u8>(), 7, 4096) };
                mine.push(place);
            }
        }
        mine
    };
    let places = if when == "before" { take() } else { Vec::new() };
    count(50);
    for place in places {
        // SAFETY: mapped above.
        let bytes = unsafe { std::slice::from_raw_parts(place as *const u8, 4096) };
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
}

/// An open that waits, interrupted with and without a restart.
fn fifo(folder: &str) {
    warm_up();
    let path = CString::new(format!("{folder}/fifo")).unwrap();
    // SAFETY: a string of our own.
    unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    for restart in [false, true] {
        // SAFETY: plain structs; the handler only counts.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | if restart { libc::SA_RESTART } else { 0 };
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        }
        let writer = path.clone();
        let later = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(600));
            std::fs::OpenOptions::new()
                .write(true)
                .custom_flags_nonblock()
                .open(writer.to_str().unwrap())
                .is_ok()
        });
        // SAFETY: plain structs.
        unsafe {
            let soon = libc::timeval { tv_sec: 0, tv_usec: 200_000 };
            let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
            let timer = libc::itimerval { it_interval: never, it_value: soon };
            libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
        }
        let fd = open(path.as_ptr(), 0);
        let errno = if fd < 0 {
            errno()
        } else {
            close(fd);
            0
        };
        println!("restart {restart}: {} {errno}", fd >= 0);
        println!("the writer found a reader: {}", later.join().unwrap());
    }
    println!("signals {} at {:#x}", SEEN.load(Ordering::Relaxed), STRANGE.load(Ordering::Relaxed));
}

trait Nonblock {
    fn custom_flags_nonblock(&mut self) -> &mut Self;
}

impl Nonblock for std::fs::OpenOptions {
    fn custom_flags_nonblock(&mut self) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, libc::O_NONBLOCK)
    }
}

extern "C" fn be_traced(_: *mut libc::c_void) -> i32 {
    // SAFETY: strings of our own; the memory is the parent's, which waits.
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::execl(c"/bin/true".as_ptr(), c"true".as_ptr(), std::ptr::null::<libc::c_char>());
        libc::_exit(1)
    }
}

/// A child of the same memory is let go, to be traced by this program, which itself is not.
fn traces() {
    warm_up();
    let mut stack = vec![0u8; 1 << 18];
    let mut status = 0;
    // SAFETY: a stack of its own; the parent waits until the child executes another program.
    unsafe {
        let top = stack.as_mut_ptr().add(1 << 18).cast();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let child = libc::clone(be_traced, top, flags, std::ptr::null_mut());
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        println!("stopped: {}", libc::WIFSTOPPED(status));
        libc::ptrace(libc::PTRACE_CONT, child, 0, 0);
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
    }
    println!("{status}");
    for _ in 0..20 {
        close(open(PLAIN.as_ptr(), 0));
    }
    say(&table());
    println!("next: {}", open(PLAIN.as_ptr(), 0));
}

static INCONSISTENT: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_trapped_call(_: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    SEEN.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel hands both; si_call_addr is behind the common fields (asm-generic/siginfo.h).
    unsafe {
        let address = *info.cast::<i64>().add(2);
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        if address != registers[libc::REG_RIP as usize] {
            INCONSISTENT.fetch_add(1, Ordering::Relaxed);
        }
        registers[libc::REG_RAX as usize] = -i64::from(libc::EPERM);
    }
}

/// A filter of the program's own, installed when the site is patched, answers opens by a signal.
fn trapped() {
    warm_up();
    let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let mut filter = [
        load(0),
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: 257 },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_TRAP },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: plain structs; the kernel copies the program.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trapped_call as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut());
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
    for path in [PLAIN, TABLE, c"/proc/no such file"] {
        println!("{} {}", open(path.as_ptr(), 0), errno());
    }
    println!(
        "{} signals, {} inconsistent",
        SEEN.load(Ordering::Relaxed),
        INCONSISTENT.load(Ordering::Relaxed)
    );
}

/// Descriptors have the lowest free number, and none is left over.
fn numbers() {
    warm_up();
    for round in 0..50 {
        let table = open(TABLE.as_ptr(), 0);
        let plain = open(PLAIN.as_ptr(), 0);
        println!("{round}: {table} {plain}");
        close(table);
        close(plain);
    }
    let mut open: Vec<_> =
        std::fs::read_dir("/proc/self/fd").unwrap().map(|e| e.unwrap().file_name()).collect();
    open.sort();
    println!("{open:?}");
}

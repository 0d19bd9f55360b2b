//! What may get in the way of calls that a tracer makes a program execute: filters of the program's own
//! and signals. The calls here are made without a library, which would make others of its own.

use super::calls::string;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

mod storm;

pub use storm::show as storm;

/// A system call's value or negative errno. What the arguments point to has to live for its time.
pub(super) fn raw_call(number: i64, given: &[i64]) -> i64 {
    let mut all = [0; 6];
    all[..given.len()].copy_from_slice(given);
    let [a, b, c, d, e, f] = all;
    // SAFETY: as said above.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap()),
        value => value,
    }
}

macro_rules! raw {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        crate::guests::injection::raw_call($number, &[$(($argument) as i64),*])
    };
}
pub(super) use raw;

/// Room that is there before a filter forbids to ask for any.
pub(super) struct Room(UnsafeCell<[u8; 1 << 20]>);

// SAFETY: one thread at a time reads a table.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; 1 << 20]));

/// All that can be read of a descriptor.
pub(super) fn read_all(fd: i64) -> &'static [u8] {
    let start = ROOM.0.get().cast::<u8>();
    let mut length = 0;
    loop {
        let got = raw!(libc::SYS_read, fd, start as usize + length, (1 << 20) - length);
        match usize::try_from(got) {
            Ok(0) | Err(_) => break,
            Ok(got) => length += got,
        }
    }
    // SAFETY: so many bytes were read, and nobody reads again while they are used.
    unsafe { std::slice::from_raw_parts(start, length) }
}

fn say(text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        let written = raw!(libc::SYS_write, 1, rest.as_ptr(), rest.len());
        rest = &rest[usize::try_from(written).unwrap()..];
    }
}

/// A number and a line's end, without the formatter.
fn say_number(what: &str, number: i64) {
    let mut digits = [b' '; 24];
    let mut at = digits.len() - 1;
    digits[at] = b'\n';
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    say(what.as_bytes());
    say(&digits[at..]);
}

static NUMBER: AtomicI32 = AtomicI32::new(0);
static TRAPPED: AtomicU32 = AtomicU32::new(0);

/// Emulates a trapped open by another one, and answers EXDEV for any other call.
extern "C" fn on_trap(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    TRAPPED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the kernel gives both; `si_syscall` is the int behind the call's address.
    unsafe {
        let number = *info.cast::<i32>().add(6);
        assert_eq!(number, NUMBER.load(Ordering::SeqCst), "si_syscall");
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        registers[libc::REG_RAX as usize] = if i64::from(number) == libc::SYS_openat {
            raw!(libc::SYS_open, registers[libc::REG_RSI as usize], registers[libc::REG_RDX as usize], 0)
        } else {
            -i64::from(libc::EXDEV)
        };
    }
}

fn number(call: &str) -> i64 {
    match call {
        "close" => libc::SYS_close,
        "dup3" => libc::SYS_dup3,
        "memfd_create" => libc::SYS_memfd_create,
        "mmap" => libc::SYS_mmap,
        "munmap" => libc::SYS_munmap,
        "openat" => libc::SYS_openat,
        "openat2" => libc::SYS_openat2,
        "rt_sigaction" => libc::SYS_rt_sigaction,
        other => panic!("no call {other}"),
    }
}

const RET_USER_NOTIF: u32 = 0x7fc0_0000;

/// Installs a filter of one call for this thread; the listener's descriptor where there is one.
fn install(call: i64, action: &str) -> i64 {
    let action = match action {
        "errno" => libc::SECCOMP_RET_ERRNO | libc::EXDEV.cast_unsigned(),
        "trap" => libc::SECCOMP_RET_TRAP,
        "kill-thread" => libc::SECCOMP_RET_KILL_THREAD,
        "kill-process" => libc::SECCOMP_RET_KILL_PROCESS,
        "log" => libc::SECCOMP_RET_LOG,
        "trace" => libc::SECCOMP_RET_TRACE,
        "continue" | "refuse" | "add" => RET_USER_NOTIF,
        other => panic!("no action {other}"),
    };
    let statement = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, u32::try_from(call).unwrap()),
        statement(libc::BPF_RET | libc::BPF_K, 0, action),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_ptr().cast_mut() };
    let flags = if action == RET_USER_NOTIF { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    assert_eq!(raw!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    let answer = raw!(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags as i64, &raw const filter);
    assert!(answer >= 0, "seccomp: {answer}");
    answer
}

/// `CALL ACTION TABLE PATH`: below a filter that has an answer of its own for one call, reads a table by
/// an open that the filter lets pass, and then makes that one call.
pub fn filtered(arguments: &[String]) {
    let [call, action, table, path] = arguments else { panic!("filtered CALL ACTION TABLE PATH") };
    let number = self::number(call);
    let (table, path) = (string(table), string(path));
    NUMBER.store(number as i32, Ordering::SeqCst);
    set_trap_handler();
    install(number, action);
    let fd = if number == libc::SYS_openat {
        raw!(libc::SYS_open, table.as_ptr(), libc::O_RDONLY, 0)
    } else {
        raw!(libc::SYS_openat, libc::AT_FDCWD, table.as_ptr(), libc::O_RDONLY, 0)
    };
    say_number("table ", fd.min(0));
    say(read_all(fd));
    say_magic(&path);
    say_number("trapped ", i64::from(TRAPPED.load(Ordering::SeqCst)));
    // Harmless arguments, whether or not the filter lets it pass.
    let own = match number {
        libc::SYS_openat => raw!(number, libc::AT_FDCWD, table.as_ptr(), 0, 0),
        libc::SYS_mmap => raw!(number, 0, 0, 0, 0, -1, 0),
        _ => raw!(number, -1, 0, 0, 0, 0, 0),
    };
    say_number("its own call ", own.min(0));
    if own >= 0 {
        say(read_all(own));
    }
    say_number("trapped ", i64::from(TRAPPED.load(Ordering::SeqCst)));
    raw!(libc::SYS_exit_group, 0);
}

fn set_trap_handler() {
    // SAFETY: a struct of plain integers; the handler makes no call that it may not make.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()), 0);
    }
}

pub(super) fn say_magic(path: &std::ffi::CStr) {
    let mut answer = [0u64; 15];
    let result = raw!(libc::SYS_statfs, path.as_ptr(), answer.as_mut_ptr());
    say_number("statfs ", result);
    say_number("a type that tmpfs has: ", i64::from(answer[0] == 0x0102_1994));
}

/// Of linux/seccomp.h.
const NOTIF_RECV: u64 = 0xc050_2100;
const NOTIF_SEND: u64 = 0xc018_2101;
const NOTIF_ADDFD: u64 = 0x4018_2103;
const FLAG_CONTINUE: u64 = 1;
const ADDFD_FLAG_SEND: u64 = 2;

static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// `continue|refuse|add TABLE`: a thread whose opens another one supervises.
pub fn supervised(action: &str, table: &str) {
    let table = string(table);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            LISTENER.store(install(libc::SYS_openat, action) as i32, Ordering::SeqCst);
            let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, table.as_ptr(), libc::O_RDONLY, 0);
            say_number("open ", fd.min(0));
            if fd >= 0 {
                say(read_all(fd));
            }
        });
        while LISTENER.load(Ordering::SeqCst) < 0 {
            std::thread::yield_now();
        }
        let listener = LISTENER.load(Ordering::SeqCst);
        // `struct seccomp_notif`: id, pid and flags, data.
        let mut request = [0u64; 10];
        while raw!(libc::SYS_ioctl, listener, NOTIF_RECV, request.as_mut_ptr()) == -i64::from(libc::EINTR) {}
        let id = request[0];
        if action == "add" {
            // A thread that no filter supervises.
            let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, table.as_ptr(), libc::O_RDONLY, 0);
            // `struct seccomp_notif_addfd`: id, flags and srcfd, newfd and its flags.
            let add = [id, ADDFD_FLAG_SEND | (fd as u64) << 32, 0];
            assert!(raw!(libc::SYS_ioctl, listener, NOTIF_ADDFD, add.as_ptr()) >= 0);
        } else {
            let (error, flags) = if action == "continue" { (0, FLAG_CONTINUE) } else { (-libc::EXDEV, 0) };
            // `struct seccomp_notif_resp`: id, val, error and flags.
            let answer = [id, 0, u64::from(error.cast_unsigned()) | flags << 32];
            assert_eq!(raw!(libc::SYS_ioctl, listener, NOTIF_SEND, answer.as_ptr()), 0);
        }
        // Its own calls at its end pass the filter; only opens don't.
        reader.join().unwrap();
    });
}

/// What PR_SET_SECCOMP for the strict mode answers, and what is possible in it.
pub fn strict() {
    let answer = raw!(libc::SYS_prctl, libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT, 0, 0, 0);
    say_number("strict mode: ", answer);
    raw!(libc::SYS_exit, 0);
}

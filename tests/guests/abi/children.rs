//! Children, made in every way that there is: each makes a statfs and reads a table, by nothing but system
//! calls, since it may share its parent's memory.

use super::super::calls::string;
use super::super::injection::{raw, read_all};
use std::ffi::CStr;
use std::io::Write;

/// The low byte of clone's flags is the signal at the child's end.
const SIGCHLD: u64 = 17;
const VM: u64 = libc::CLONE_VM as u64;
const VFORK: u64 = libc::CLONE_VFORK as u64;
const FILES: u64 = libc::CLONE_FILES as u64;
const FS: u64 = libc::CLONE_FS as u64;
const SIGHAND: u64 = libc::CLONE_SIGHAND as u64;
const PTRACE: u64 = libc::CLONE_PTRACE as u64;
const UNTRACED: u64 = libc::CLONE_UNTRACED as u64;
const PARENT: u64 = libc::CLONE_PARENT as u64;
const PIDFD: u64 = libc::CLONE_PIDFD as u64;
const IO: u64 = 0x8000_0000;
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// Flags of children that are made by clone and by clone3.
const KINDS: &[(&str, u64)] = &[
    ("nothing shared", 0),
    ("vfork", VM | VFORK),
    ("vfork alone", VFORK),
    ("traced", PTRACE),
    ("untraced", UNTRACED),
    ("untraced with shared memory", UNTRACED | VM | VFORK),
    ("traced and untraced", PTRACE | UNTRACED),
    ("shared memory", VM),
    ("shared descriptors", FILES),
    ("shared memory, descriptors, folder", VM | FILES | FS),
    ("all but the thread group", VM | FILES | FS | SIGHAND | IO),
    ("its parent's parent", PARENT),
    ("its parent's parent, untraced", PARENT | UNTRACED),
    ("descriptor of the process", PIDFD),
];

const STACK: usize = 256 << 10;

/// A child's work: its exit status, 0 where it saw what its parent saw.
fn look(path: &CStr, table: &CStr, magic: u64, text: &[u8]) -> i32 {
    let mut answer = [0u64; 15];
    let result = raw!(libc::SYS_statfs, path.as_ptr(), answer.as_mut_ptr());
    if result != 0 {
        return i32::try_from(-result).unwrap_or(99).min(99);
    }
    if answer[0] != magic {
        return 100;
    }
    let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, table.as_ptr(), libc::O_RDONLY, 0);
    if fd < 0 {
        return 101;
    }
    let same = read_all(fd) == text;
    raw!(libc::SYS_close, fd);
    if same { 0 } else { 102 }
}

/// `PATH TABLE`: a line per kind.
pub fn show(path: &str, table: &str) {
    let (path, table) = (string(path), string(table));
    let mut answer = [0u64; 15];
    assert_eq!(raw!(libc::SYS_statfs, path.as_ptr(), answer.as_mut_ptr()), 0);
    let magic = answer[0];
    let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, table.as_ptr(), libc::O_RDONLY, 0);
    let text = read_all(fd).to_vec();
    raw!(libc::SYS_close, fd);
    let child = || look(&path, &table, magic, &text);

    for call in ["clone", "clone3"] {
        for (kind, flags) in KINDS {
            println!("{call}, {kind}: {}", ended(|| make(call, *flags, &child)));
        }
    }
    println!("clone3, no handlers: {}", ended(|| make("clone3", CLEAR_SIGHAND, &child)));
    println!("clone3, into a cgroup: {}", ended(|| into_cgroup(&child)));
    println!("clone3, a chosen id: {}", ended(|| with_chosen_id(&child)));
    // What a library makes of it.
    println!(
        "fork: {}",
        ended(|| {
            // SAFETY: one thread; the child looks and ends.
            match unsafe { libc::fork() } {
                // SAFETY: as above.
                0 => unsafe { libc::_exit(child()) },
                child => i64::from(child),
            }
        })
    );
    println!("posix_spawn: {}", spawned(&path, &table));
    std::io::stdout().write_all(&text).unwrap();
}

/// Makes children in a process in between, which may get a child's child as its own; how they ended.
fn ended(make: impl FnOnce() -> i64) -> String {
    // SAFETY: one thread.
    let between = unsafe { libc::fork() };
    if between == 0 {
        let made = make();
        // Its own child; one that belongs to its parent is waited for there.
        let status = wait(made);
        // SAFETY: as above.
        unsafe { libc::_exit(if made < 0 { 120 } else { status.unwrap_or(121) }) }
    }
    let mut said = Vec::new();
    loop {
        let mut status = 0;
        // SAFETY: a local variable.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if pid < 0 {
            break;
        }
        said.push(format!("{}{status:#x}", if pid == between { "" } else { "adopted " }));
    }
    said.sort();
    said.join(", ")
}

/// An exit status; None where there is no such child.
fn wait(pid: i64) -> Option<i32> {
    let mut status = 0;
    // SAFETY: a local variable.
    let found = unsafe { libc::waitpid(i32::try_from(pid).ok()?, &raw mut status, libc::__WALL) };
    (found >= 0).then(|| if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 122 })
}

/// A child by clone or clone3, on a stack of its own where it shares memory.
fn make(call: &str, flags: u64, child: &dyn Fn() -> i32) -> i64 {
    let stack = Box::leak(vec![0u8; STACK].into_boxed_slice());
    let mut pidfd = 0;
    let pidfd = &raw mut pidfd as u64;
    let pidfd = if flags & PIDFD == 0 { 0 } else { pidfd };
    if flags & VM != 0 {
        return on_own_stack(call, flags, stack, child);
    }
    let made = if call == "clone3" {
        // A sibling's end sends what its parent's does.
        let signal = if flags & PARENT == 0 { SIGCHLD } else { 0 };
        let arguments = [flags, pidfd, 0, 0, signal, 0, 0, 0];
        raw!(libc::SYS_clone3, arguments.as_ptr(), 64)
    } else {
        raw!(libc::SYS_clone, flags | SIGCHLD, 0, pidfd, 0, 0)
    };
    if made == 0 {
        raw!(libc::SYS_exit_group, child());
    }
    made
}

/// The child begins in a function, as the C library's clone does it; clone3 by instructions of our own.
fn on_own_stack(call: &str, flags: u64, stack: &mut [u8], child: &dyn Fn() -> i32) -> i64 {
    extern "C" fn begin(work: *mut libc::c_void) -> libc::c_int {
        // SAFETY: what its maker passed, who waits for the end.
        unsafe { (*work.cast::<&dyn Fn() -> i32>())() }
    }
    let work: &mut &dyn Fn() -> i32 = &mut { child };
    let work = std::ptr::from_mut(work).cast::<libc::c_void>();
    // SAFETY: a stack that is never freed; the child's work lives until the child ends.
    unsafe {
        let made = if call == "clone3" {
            let length = stack.len() as u64;
            let arguments = [flags, 0, 0, 0, SIGCHLD, stack.as_mut_ptr() as u64, length, 0];
            let made: i64;
            std::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r13",
                "call r12",
                "mov edi, eax",
                "mov eax, 231", // exit_group
                "syscall",
                "2:",
                inout("rax") libc::SYS_clone3 => made,
                in("rdi") arguments.as_ptr(),
                in("rsi") 64,
                in("r12") begin as *const () as usize,
                in("r13") work,
                out("rcx") _,
                out("r11") _,
            );
            made
        } else {
            let top = stack.as_mut_ptr().add(stack.len()).cast();
            i64::from(libc::clone(begin, top, flags as i32 | libc::SIGCHLD, work))
        };
        // The work is on this stack: nobody returns before the child's end.
        let mut nothing: libc::siginfo_t = std::mem::zeroed();
        let until = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        libc::waitid(libc::P_PID, made as u32, &raw mut nothing, until);
        made
    }
}

/// A child that begins in a cgroup, which is its parent's as well: at the top, wherever that is.
fn into_cgroup(child: &dyn Fn() -> i32) -> i64 {
    let path = if std::path::Path::new("/sys/fs/cgroup/unified").exists() {
        c"/sys/fs/cgroup/unified"
    } else {
        c"/sys/fs/cgroup"
    };
    let folder = raw!(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_DIRECTORY | libc::O_PATH, 0);
    let arguments = [0x2_0000_0000, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, folder as u64];
    let made = raw!(libc::SYS_clone3, arguments.as_ptr(), 88);
    if made == 0 {
        raw!(libc::SYS_exit_group, child());
    }
    made
}

/// A child with a process id that is free.
fn with_chosen_id(child: &dyn Fn() -> i32) -> i64 {
    for id in (30_000..32_000).rev() {
        let ids = [id];
        let arguments = [0, 0, 0, 0, SIGCHLD, 0, 0, 0, ids.as_ptr() as u64, 1];
        match raw!(libc::SYS_clone3, arguments.as_ptr(), 80) {
            0 => {
                // SAFETY: no preconditions.
                let own = unsafe { libc::getpid() };
                raw!(libc::SYS_exit_group, if own == id { child() } else { 103 });
            }
            error if error == -i64::from(libc::EEXIST) => {}
            made => return made,
        }
    }
    panic!("no free id");
}

/// A guest, spawned; as `exec` guests do it.
fn spawned(path: &CStr, table: &CStr) -> String {
    let guest = c"--guest";
    let words = [c"guest", guest, c"look", path, table];
    let mut pointers: Vec<*mut libc::c_char> = words.iter().map(|w| w.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let (mut pid, mut status) = (0, 0);
    let (actions, attributes) = (std::ptr::null(), std::ptr::null());
    let program = c"/proc/self/exe";
    let environment = [std::ptr::null_mut()];
    // SAFETY: strings that end in NUL, arrays that end in null.
    unsafe {
        let error = libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            actions,
            attributes,
            pointers.as_ptr(),
            environment.as_ptr(),
        );
        assert_eq!(error, 0);
        libc::waitpid(pid, &raw mut status, 0);
    }
    format!("{status:#x}")
}

/// What a spawned program says.
pub fn look_once(path: &str, table: &str) {
    let (path, table) = (string(path), string(table));
    let mut answer = [0u64; 15];
    println!("statfs {}", raw!(libc::SYS_statfs, path.as_ptr(), answer.as_mut_ptr()));
    let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, table.as_ptr(), libc::O_RDONLY, 0);
    println!("{} lines", read_all(fd).split(|b| *b == b'\n').count());
}

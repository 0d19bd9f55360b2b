//! Programs executed in every way: each becomes the guest `privileges`, or fails as natively.

use super::calls::string;
use super::injection::{raw, read_all};
use std::ffi::CString;
use std::fs;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

/// A program's own end of an exec: that it runs, what it may, and a table.
pub fn privileges(table: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for name in ["Uid", "Gid", "CapEff", "Threads", "SigBlk", "NoNewPrivs"] {
        let line = status.lines().find(|line| line.split(':').next() == Some(name));
        println!("{}", line.unwrap_or(name));
    }
    // SAFETY: no pointers.
    println!("dumpable {}", unsafe { libc::prctl(libc::PR_GET_DUMPABLE) });
    std::io::stdout().write_all(&fs::read(table).unwrap()).unwrap();
}

/// execveat, or its errno.
fn execute(folder: i32, path: &str, arguments: &[&str], flags: i32) -> i64 {
    let words: Vec<CString> = arguments.iter().map(|a| string(a)).collect();
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|w| w.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let path = string(path);
    let environment = [c"PATH=/usr/bin:/bin".as_ptr(), std::ptr::null()];
    raw!(libc::SYS_execveat, folder, path.as_ptr(), pointers.as_ptr(), environment.as_ptr(), flags)
}

/// `WAY FOLDER TABLE`
pub fn show(way: &str, folder: &str, table: &str) {
    let own = fs::read_link("/proc/self/exe").unwrap();
    let own = own.to_str().unwrap();
    let words = ["guest", "--guest", "privileges", table];
    match way {
        "memfd" => {
            let program = copied_to_memfd(own, 0);
            execute(program.as_raw_fd(), "", &words, libc::AT_EMPTY_PATH);
        }
        "path-only" => {
            let program = super::calls::open(own, libc::O_PATH).unwrap();
            execute(program.as_raw_fd(), "", &words, libc::AT_EMPTY_PATH);
        }
        "by-descriptor-name" => {
            let program = super::calls::open(own, libc::O_PATH).unwrap();
            execute(libc::AT_FDCWD, &format!("/proc/self/fd/{}", program.as_raw_fd()), &words, 0);
        }
        "script-by-descriptor" => {
            let script = script_in_memfd("#!/bin/sh\necho \"$0\"; exec \"$@\"\n");
            let arguments = [&["script", own][..], &words[1..]].concat();
            execute(script, "", &arguments, libc::AT_EMPTY_PATH);
        }
        "script-by-descriptor-that-is-closed" => {
            let script = script_in_memfd("#!/bin/sh\necho never\n");
            raw!(libc::SYS_fcntl, script, libc::F_SETFD, libc::FD_CLOEXEC);
            let error = execute(script, "", &["script"], libc::AT_EMPTY_PATH);
            println!("execveat: {error}");
        }
        "interpreters" => {
            let last = chain(folder, 3);
            execute(libc::AT_FDCWD, &last, &[&["x", own][..], &words[1..]].concat(), 0);
        }
        "too-many-interpreters" => {
            let last = chain(folder, 8);
            println!("execve: {}", execute(libc::AT_FDCWD, &last, &["x"], 0));
        }
        "failures" => failures(folder, table),
        "thread" => in_a_thread(own, table, 300, false),
        "thread-without-leader" => in_a_thread(own, table, 50, true),
        "not-dumpable" => {
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
            println!("dumpable {}", raw!(libc::SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0));
            let name = string(table);
            let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), 0, 0);
            std::io::stdout().write_all(read_all(fd)).unwrap();
            super::injection::say_magic(&string(folder));
        }
        other => panic!("no way {other}"),
    }
    if way.contains("memfd") || way.contains("path") {
        panic!("{way}: not executed: {}", std::io::Error::last_os_error());
    }
}

fn copied_to_memfd(path: &str, flags: u32) -> fs::File {
    // SAFETY: a constant string.
    let fd = unsafe { libc::memfd_create(c"program".as_ptr(), flags) };
    // SAFETY: the kernel has just given it.
    let mut memfd = unsafe { <fs::File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    std::io::copy(&mut fs::File::open(path).unwrap(), &mut memfd).unwrap();
    // One that is open for writing can't be executed: open it again.
    let again = fs::File::open(format!("/proc/self/fd/{fd}")).unwrap();
    drop(memfd);
    again
}

fn script_in_memfd(text: &str) -> i32 {
    // SAFETY: a constant string.
    let fd = unsafe { libc::memfd_create(c"script".as_ptr(), 0) };
    // SAFETY: the kernel has just given it.
    let mut memfd = unsafe { <fs::File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    memfd.write_all(text.as_bytes()).unwrap();
    memfd.rewind().unwrap();
    memfd.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    let again = fs::File::open(format!("/proc/self/fd/{fd}")).unwrap();
    drop(memfd);
    let fd = again.as_raw_fd();
    std::mem::forget(again);
    raw!(libc::SYS_fcntl, fd, libc::F_SETFD, 0);
    fd
}

/// Scripts, each of which is the next one's interpreter; the last one's path.
fn chain(folder: &str, length: usize) -> String {
    let mut interpreter = "/bin/sh".to_owned();
    for number in 0..length {
        let path = format!("{folder}/link-{number}");
        let work = if number == 0 {
            "while [ ! -x \"$1\" ] || [ \"${1##*/}\" != guest ] && [ \"${1#*link}\" != \"$1\" ]; do shift; done; exec \"$@\"\n"
        } else {
            ""
        };
        fs::write(&path, format!("#!{interpreter}\n{work}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        interpreter = path;
    }
    interpreter
}

/// An exec that fails leaves the program as it was: it goes on, and reads tables.
fn failures(folder: &str, table: &str) {
    let file = |name: &str, text: &[u8], mode: u32| {
        let path = format!("{folder}/{name}");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let nonsense = file("nonsense", b"no program\n", 0o755);
    let truncated = file("truncated", b"\x7fELF\x02\x01\x01", 0o755);
    let plain = file("plain", b"#!/bin/sh\n", 0o644);
    let no_interpreter = file("no-interpreter", b"#!/no/such/interpreter\n", 0o755);
    let busy = file("busy", b"#!/bin/sh\n", 0o755);
    let _open = fs::OpenOptions::new().write(true).open(&busy).unwrap();
    let loops = format!("{folder}/loop");
    let _ = fs::remove_file(&loops);
    std::os::unix::fs::symlink(&loops, &loops).unwrap();
    let huge = "x".repeat(200_000);
    let many: Vec<&str> = std::iter::repeat_n(&huge[..100_000], 400).collect();
    let in_a_file = format!("{plain}/x");
    for (what, path, arguments) in [
        ("nothing", "/no/such/program", &["x"][..]),
        ("an empty name", "", &["x"]),
        ("nonsense", &nonsense, &["x"]),
        ("truncated", &truncated, &["x"]),
        ("not executable", &plain, &["x"]),
        ("no interpreter", &no_interpreter, &["x"]),
        ("a folder", folder, &["x"]),
        ("a loop of links", &loops, &["x"]),
        ("below a file", &in_a_file, &["x"]),
        ("open for writing", &busy, &["x"]),
        ("one long argument", "/bin/true", &[&huge]),
        ("many arguments", "/bin/true", &many),
    ] {
        println!("{what}: {}", execute(libc::AT_FDCWD, path, arguments, 0));
        assert!(!fs::read(table).unwrap().is_empty(), "a table after {what}");
    }
    std::io::stdout().write_all(&fs::read(table).unwrap()).unwrap();
}

/// A thread that is not the leader executes a program beside many others, where asked after the leader's end.
fn in_a_thread(own: &str, table: &str, siblings: usize, without_leader: bool) -> ! {
    let (own, table) = (&*own.to_owned().leak(), &*table.to_owned().leak());
    let ready: &'static Barrier = Box::leak(Box::new(Barrier::new(siblings + 1)));
    for number in 0..siblings {
        let work = move || {
            ready.wait();
            loop {
                // Most sleep, as threads do; some are in the middle of a rewritten call.
                if number % 10 == 0 {
                    let _ = fs::read(table);
                } else {
                    std::thread::park();
                }
            }
        };
        std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap();
    }
    std::thread::spawn(move || {
        ready.wait();
        let leader = std::process::id();
        // It is a zombie until its threads are gone.
        while without_leader && !fs::read_to_string(format!("/proc/{leader}/stat")).unwrap().contains(") Z ")
        {
            std::thread::yield_now();
        }
        assert_eq!(
            fs::read("/proc/thread-self/mounts").unwrap(),
            fs::read("/proc/thread-self/mounts").unwrap()
        );
        let error = execute(libc::AT_FDCWD, own, &["guest", "--guest", "privileges", table], 0);
        panic!("{error}");
    });
    if without_leader {
        raw!(libc::SYS_exit, 0);
    }
    loop {
        let _ = fs::read(table);
    }
}

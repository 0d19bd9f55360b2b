//! Programs in places that are not like others: little room, a frozen group, files by handles.

use super::calls::{open, open_at_2, string};
use super::injection::{raw, read_all, say_magic};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;

/// Reads a table where no more memory can be mapped.
pub fn without_room(table: &str, path: &str) {
    let (table, path) = (string(table), string(path));
    let pages: u64 =
        fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    // SAFETY: a struct of ours.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &raw mut limit), 0);
        limit.rlim_cur = pages * 4096;
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const limit), 0);
    }
    let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let error = raw!(libc::SYS_mmap, 0, 1 << 20, protection, flags, -1, 0);
    assert_eq!(error, -i64::from(libc::ENOMEM));
    let fd = raw!(libc::SYS_openat, libc::AT_FDCWD, table.as_ptr(), libc::O_RDONLY, 0);
    let text = read_all(fd);
    raw!(libc::SYS_write, 1, text.as_ptr(), text.len());
    say_magic(&path);
    raw!(libc::SYS_exit_group, 0);
}

/// `GROUP TABLE`: a child in a control group that is frozen again and again, in the middle of whatever it does;
/// meanwhile its parent goes on.
pub fn frozen(group: &str, table: &str) {
    let first = fs::read(table).unwrap();
    let freeze = |frozen: bool| {
        let newer = format!("{group}/cgroup.freeze");
        let (file, text) = match (fs::exists(&newer).unwrap(), frozen) {
            (true, true) => (newer, "1"),
            (true, false) => (newer, "0"),
            (false, true) => (format!("{group}/freezer.state"), "FROZEN"),
            (false, false) => (format!("{group}/freezer.state"), "THAWED"),
        };
        fs::write(file, text).unwrap();
    };
    let (go_on, stop) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
    // SAFETY: one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(stop);
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
        // Until the other end is closed.
        while raw!(libc::SYS_read, go_on.as_raw_fd(), [0u8; 1].as_mut_ptr(), 1) != 0 {
            assert!(fs::read(table).unwrap() == first, "another table");
        }
        // SAFETY: as above.
        unsafe { libc::_exit(0) }
    }
    fs::write(format!("{group}/cgroup.procs"), child.to_string()).unwrap();
    for _ in 0..30 {
        freeze(true);
        for _ in 0..3 {
            assert!(fs::read(table).unwrap() == first, "another table");
        }
        freeze(false);
        assert!(fs::read(table).unwrap() == first, "another table");
    }
    drop(stop);
    let mut status = 0;
    // SAFETY: a local variable.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    println!("frozen and thawed: {status:#x}");
    std::io::stdout().write_all(&first).unwrap();
}

/// A blocking open of a FIFO, by a name that the tracer looks at, holds nobody else up.
pub fn blocked(folder: &str, table: &str) {
    let first = fs::read(table).unwrap();
    let fifo = format!("{folder}/mounts");
    let _ = fs::remove_file(&fifo);
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| fs::read(&fifo).unwrap());
        let others: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..10 {
                        assert!(fs::read(table).unwrap() == first, "another table");
                    }
                })
            })
            .collect();
        others.into_iter().for_each(|other| other.join().unwrap());
        fs::write(&fifo, "through").unwrap();
        println!("{}", String::from_utf8(reader.join().unwrap()).unwrap());
    });
    std::io::stdout().write_all(&first).unwrap();
}

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

/// `FOLDER TABLE`: files by handles, where their file system has such.
pub fn handles(folder: &str, table: &str) {
    for (path, flags) in [(folder, 0), (table, 0), (table, 0x200)] {
        let mut handle = Handle { bytes: 128, kind: 0, data: [0; 128] };
        let mut mount = 0;
        let name = string(path);
        let answer = raw!(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            name.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            flags
        );
        println!("name_to_handle_at {path} {flags:#x}: {answer}");
        if answer != 0 {
            continue;
        }
        let place = open(path, libc::O_RDONLY).unwrap();
        let fd = raw!(libc::SYS_open_by_handle_at, place.as_raw_fd(), &raw const handle, libc::O_RDONLY);
        println!("open_by_handle_at: {}", fd.min(0));
        if fd >= 0 {
            say_magic(&string(&format!("/proc/self/fd/{fd}")));
            let mut answer = [0u64; 15];
            raw!(libc::SYS_fstatfs, fd, answer.as_mut_ptr());
            println!("fstatfs says tmpfs: {}", i64::from(answer[0] == 0x0102_1994));
        }
    }
}

/// `TABLE`: every restriction of openat2 on ways to a table.
pub fn resolves(table: &str) {
    let plain = open(table, libc::O_PATH).unwrap();
    let (folder, name) = table.rsplit_once('/').unwrap();
    let folder_only = open(folder, libc::O_PATH | libc::O_DIRECTORY).unwrap();
    let again = format!("/proc/self/fd/{}", plain.as_raw_fd());
    for (what, resolve) in [
        ("no crossing", 0x01),
        ("no magic links", 0x02),
        ("no links", 0x04),
        ("beneath", 0x08),
        ("in the root", 0x10),
        ("beneath, no links", 0x0c),
        ("unknown", 0x1000),
    ] {
        for (by, path) in [("path", table), ("descriptor's name", &again), ("name", name)] {
            let at = if by == "name" { folder_only.as_raw_fd() } else { libc::AT_FDCWD };
            match open_at_2(at, path, libc::O_RDONLY, resolve) {
                Ok(file) => {
                    println!("{what}, by {by}:");
                    std::io::stdout().write_all(read_all(file.as_raw_fd().into())).unwrap();
                }
                Err(errno) => println!("{what}, by {by}: errno {errno}"),
            }
        }
    }
    for (bytes, flags) in [(16usize, 0u64), (24, 1 << 40), (32, 0), (23, 0)] {
        let how = [flags, 0, 0, 0];
        let name = string(table);
        let answer = raw!(libc::SYS_openat2, libc::AT_FDCWD, name.as_ptr(), how.as_ptr(), bytes);
        println!("{bytes} bytes, flags {flags:#x}: {}", answer.min(0));
        raw!(libc::SYS_close, answer);
    }
}

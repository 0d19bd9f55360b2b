//! What a table's descriptor is like, apart from its text.

use super::calls::{checked, open, open_at_2};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};

/// Descriptors that are open.
fn open_descriptors() -> Vec<RawFd> {
    // SAFETY: no pointers.
    (0..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1).collect()
}

fn lowest_free() -> RawFd {
    let open = open_descriptors();
    (0..).find(|fd| !open.contains(fd)).unwrap()
}

/// Numbers, flags, errors.
pub fn show(path: &str) {
    for flags in [libc::O_RDONLY, libc::O_CLOEXEC, libc::O_NONBLOCK | libc::O_CLOEXEC, libc::O_NOFOLLOW] {
        // A hole in the numbers, as programs have them.
        let fillers: Vec<File> = (0..5).map(|_| File::open("/dev/null").unwrap()).collect();
        let mut fillers: Vec<Option<File>> = fillers.into_iter().map(Some).collect();
        fillers[2] = None;
        let before = open_descriptors();
        let expected = lowest_free();
        let mut file = File::from(open(path, flags).unwrap());
        let fd = file.as_raw_fd();
        assert_eq!(fd, expected, "the lowest free number");
        let mut with_it = before.clone();
        with_it.push(fd);
        with_it.sort_unstable();
        assert_eq!(open_descriptors(), with_it, "no other descriptor");
        // SAFETY: no pointers but to local variables.
        unsafe {
            let status = libc::fcntl(fd, libc::F_GETFL);
            println!(
                "flags {flags:#o}: FD {:?}, access {}",
                libc::fcntl(fd, libc::F_GETFD),
                status & libc::O_ACCMODE
            );
            println!("write {:?}", checked(libc::write(fd, b"x".as_ptr().cast(), 1) as libc::c_long));
            println!("ftruncate {:?}", checked(libc::ftruncate(fd, 0).into()));
            let mut buffer: libc::statfs = std::mem::zeroed();
            println!("fstatfs {:?}", checked(libc::fstatfs(fd, &raw mut buffer).into()));
            println!("  type {:#x}, {} bytes a block", buffer.f_type, buffer.f_bsize);
        }
        println!(
            "seek to the end and beyond: {:?}",
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(1 << 30)).is_ok()
        );
        println!("read there: {:?}", file.read(&mut [0; 10]).map_err(|e| e.raw_os_error()));
        drop(file);
        assert_eq!(open_descriptors(), before, "closed again");
    }
}

/// What F_GETFL says of the flags that programs ask for, and what F_SETFL changes of them.
pub fn status_flags(path: &str) {
    const SHOWN: i32 = libc::O_ACCMODE | libc::O_NONBLOCK | libc::O_APPEND;
    for flags in [0, libc::O_NONBLOCK, libc::O_APPEND, libc::O_NONBLOCK | libc::O_APPEND | libc::O_CLOEXEC] {
        let file = open(path, libc::O_RDONLY | flags).unwrap();
        // SAFETY: no pointers.
        let get = || unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) } & SHOWN;
        let opened = get();
        // SAFETY: as above.
        let set = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        println!("opened with {flags:#o}: {opened:#o}; set {set}: {:#o}", get());
    }
}

/// The table takes the last number that the limit allows.
pub fn at_the_limit(path: &str) {
    let last = lowest_free();
    let limit = libc::rlim_t::try_from(last + 1).unwrap();
    // SAFETY: a struct of ours.
    unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits);
        limits.rlim_cur = limit;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
    }
    let mut file = File::from(open(path, libc::O_RDONLY | libc::O_CLOEXEC).unwrap());
    assert_eq!(file.as_raw_fd(), last);
    println!("one more: {:?}", open(path, libc::O_RDONLY).map(|fd| fd.as_raw_fd()));
    // SAFETY: no pointers; a byte of ours.
    unsafe {
        println!("FD {:?}", libc::fcntl(last, libc::F_GETFD));
        assert_eq!(libc::write(last, b"x".as_ptr().cast(), 1), -1, "not to be written");
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    std::io::stdout().write_all(&text).unwrap();
}

/// Reads a file as cgroup libraries open theirs.
pub fn openat2_beneath(folder: &str, name: &str) {
    let folder = open(folder, libc::O_PATH | libc::O_DIRECTORY).unwrap();
    match open_at_2(folder.as_raw_fd(), name, libc::O_RDONLY | libc::O_CLOEXEC, 0x08 | 0x02) {
        Ok(file) => {
            let mut text = String::new();
            File::from(file).read_to_string(&mut text).unwrap();
            print!("{text}");
        }
        Err(errno) => println!("errno {errno}"),
    }
}

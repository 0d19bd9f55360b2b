//! Mount tables, read in every way that there is.

use super::calls::{old_open, open, open_at, open_at_2, string};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const RESOLVE_IN_ROOT: u64 = 0x10;

/// The ways of `read`.
pub const WAYS: [&str; 27] = [
    "openat",
    "open",
    "read-write",
    "openat2",
    "openat2-no-symlinks",
    "openat2-beneath",
    "openat2-in-root",
    "relative",
    "working-folder",
    "link",
    "descriptor-again",
    "path-only-again",
    "path-only-by-number",
    "dev-fd",
    "one-byte",
    "pread",
    "rewind",
    "dup",
    "dup2",
    "fork",
    "vfork",
    "socket",
    "stdin",
    "thread",
    "child",
    "readv",
    "dots",
];

/// Writes the table to stdout.
pub fn read(way: &str, path: &str) {
    let (folder, name) = path.rsplit_once('/').unwrap();
    let folder_only = || open(folder, libc::O_PATH | libc::O_DIRECTORY).unwrap();
    let plain = || File::from(open(path, libc::O_RDONLY | libc::O_CLOEXEC).unwrap());
    let text = match way {
        "openat" => all(plain()),
        "open" => all(old_open(path, libc::O_RDONLY).unwrap().into()),
        // Root may ask for it, and nothing can be written all the same.
        "read-write" => match open(path, libc::O_RDWR) {
            Ok(file) => all(file.into()),
            Err(errno) => format!("errno {errno}").into_bytes(),
        },
        "openat2" => all(open_at_2(libc::AT_FDCWD, path, 0, 0).unwrap().into()),
        "openat2-no-symlinks" => {
            let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
            all(open_at_2(folder_only().as_raw_fd(), name, 0, resolve).unwrap().into())
        }
        "openat2-beneath" => {
            all(open_at_2(folder_only().as_raw_fd(), name, 0, RESOLVE_BENEATH).unwrap().into())
        }
        "openat2-in-root" => {
            let rooted = format!("/{name}");
            all(open_at_2(folder_only().as_raw_fd(), &rooted, 0, RESOLVE_IN_ROOT).unwrap().into())
        }
        "relative" => all(open_at(folder_only().as_raw_fd(), name, libc::O_RDONLY).unwrap().into()),
        "working-folder" => {
            std::env::set_current_dir(folder).unwrap();
            all(open(name, libc::O_RDONLY).unwrap().into())
        }
        "dots" => {
            all(open(&format!("{folder}/./../{}/{name}", last(folder)), libc::O_RDONLY).unwrap().into())
        }
        "link" => through_a_link(path),
        "descriptor-again" => {
            let mut first = plain();
            first.read_exact(&mut [0; 10]).unwrap();
            all(open(&format!("/proc/self/fd/{}", first.as_raw_fd()), libc::O_RDONLY).unwrap().into())
        }
        "dev-fd" => {
            let first = plain();
            all(open(&format!("/dev/fd/{}", first.as_raw_fd()), libc::O_RDONLY).unwrap().into())
        }
        "path-only-again" => {
            let first = open(path, libc::O_PATH).unwrap();
            all(open(&format!("/proc/self/fd/{}", first.as_raw_fd()), libc::O_RDONLY).unwrap().into())
        }
        // By a name that says nothing: a number, relative to the folder of the descriptors.
        "path-only-by-number" => {
            let first = open(path, libc::O_PATH).unwrap();
            let folder = open("/proc/self/fd", libc::O_PATH | libc::O_DIRECTORY).unwrap();
            match open_at(folder.as_raw_fd(), &first.as_raw_fd().to_string(), libc::O_RDONLY) {
                Ok(file) => all(file.into()),
                Err(errno) => format!("errno {errno}").into_bytes(),
            }
        }
        "one-byte" => byte_by_byte(plain()),
        "pread" => by_pread(&plain()),
        "readv" => by_readv(&plain()),
        "rewind" => {
            let mut file = plain();
            let first = all(file.try_clone().unwrap());
            file.seek(SeekFrom::Start(0)).unwrap();
            let second = all(file.try_clone().unwrap());
            assert_eq!(first, second);
            file.seek(SeekFrom::Start(100)).unwrap();
            assert_eq!(all(file), first[100..]);
            first
        }
        "dup" | "dup2" => through_a_copy(plain(), way == "dup2"),
        "fork" => shared_with_a_child(plain()),
        "vfork" => opened_in_a_vfork_child(path),
        "socket" => over_a_socket(path),
        "stdin" => {
            let file = open(path, libc::O_RDONLY).unwrap();
            Command::new("cat").stdin(file).output().unwrap().stdout
        }
        "thread" => {
            let path = path.to_owned();
            std::thread::spawn(move || all(open(&path, libc::O_RDONLY).unwrap().into())).join().unwrap()
        }
        // The table of another process, by its number.
        "child" => {
            let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
            let name = path.rsplit('/').next().unwrap();
            let text = all(open(&format!("/proc/{}/{name}", child.id()), libc::O_RDONLY).unwrap().into());
            drop(child.stdin.take());
            child.wait().unwrap();
            text
        }
        other => panic!("no way {other}"),
    };
    std::io::stdout().write_all(&text).unwrap();
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn all(mut file: File) -> Vec<u8> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    text
}

fn byte_by_byte(mut file: File) -> Vec<u8> {
    let mut text = Vec::new();
    let mut byte = [0];
    while file.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    text
}

fn by_pread(file: &File) -> Vec<u8> {
    let mut text = Vec::new();
    let mut part = [0; 53];
    loop {
        match file.read_at(&mut part, text.len() as u64).unwrap() {
            0 => return text,
            read => text.extend_from_slice(&part[..read]),
        }
    }
}

fn by_readv(file: &File) -> Vec<u8> {
    let (mut first, mut second) = ([0u8; 7], [0u8; 1000]);
    let mut text = Vec::new();
    loop {
        let parts = [
            libc::iovec { iov_base: first.as_mut_ptr().cast(), iov_len: first.len() },
            libc::iovec { iov_base: second.as_mut_ptr().cast(), iov_len: second.len() },
        ];
        // SAFETY: both parts are ours and as long as they say.
        let read = unsafe { libc::readv(file.as_raw_fd(), parts.as_ptr(), 2) };
        let read = usize::try_from(read).unwrap();
        if read == 0 {
            return text;
        }
        text.extend_from_slice(&first[..read.min(7)]);
        text.extend_from_slice(&second[..read.saturating_sub(7)]);
    }
}

/// A link as /etc/mtab is one.
fn through_a_link(path: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("mtab");
    std::os::unix::fs::symlink(path, &link).unwrap();
    all(open(link.to_str().unwrap(), libc::O_RDONLY).unwrap().into())
}

fn through_a_copy(mut file: File, with_number: bool) -> Vec<u8> {
    let mut text = vec![0; 100];
    file.read_exact(&mut text).unwrap();
    // SAFETY: no pointers; the new descriptor is ours.
    let mut copy = unsafe {
        let fd = if with_number { libc::dup2(file.as_raw_fd(), 77) } else { libc::dup(file.as_raw_fd()) };
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    let mut more = vec![0; 100];
    copy.read_exact(&mut more).unwrap();
    text.extend(more);
    drop(copy);
    text.extend(all(file));
    text
}

/// A child reads on where the parent is, and moves the parent's place.
fn shared_with_a_child(mut file: File) -> Vec<u8> {
    let mut text = vec![0; 100];
    file.read_exact(&mut text).unwrap();
    let mut child = Command::new("dd");
    child.args(["bs=100", "count=1", "status=none"]).stdin(file.try_clone().unwrap());
    text.extend(child.output().unwrap().stdout);
    text.extend(all(file));
    text
}

fn opened_in_a_vfork_child(path: &str) -> Vec<u8> {
    static mut LENGTH: libc::ssize_t = -1;
    let path = string(path);
    let mut text = vec![0u8; 1 << 20];
    // SAFETY: the child only makes system calls, and writes to memory that the waiting parent reads
    // when the child has ended.
    #[allow(deprecated)]
    unsafe {
        let child = libc::vfork();
        if child == 0 {
            let fd = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDONLY);
            let mut length = 0;
            loop {
                let at = text.as_mut_ptr().add(length);
                let read = libc::syscall(libc::SYS_read, fd, at, text.len() - length);
                if read <= 0 {
                    break;
                }
                length += read as usize;
            }
            LENGTH = length as libc::ssize_t;
            libc::_exit(0);
        }
        assert!(child > 0);
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        assert_eq!(status, 0);
        text.truncate(LENGTH as usize);
    }
    text
}

fn over_a_socket(path: &str) -> Vec<u8> {
    use nix::sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
        socketpair,
    };
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let file = open(path, libc::O_RDONLY).unwrap();
    let fds = [file.as_raw_fd()];
    let message = [std::io::IoSlice::new(b"x")];
    sendmsg::<()>(theirs.as_raw_fd(), &message, &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None)
        .unwrap();
    drop(file);
    let mut byte = [0];
    let mut parts = [std::io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let answer = recvmsg::<()>(ours.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
    let Some(ControlMessageOwned::ScmRights(received)) = answer.cmsgs().unwrap().next() else {
        panic!("no descriptor came")
    };
    // SAFETY: the kernel has just given it to us.
    all(unsafe { File::from_raw_fd(received[0]) })
}

/// With another root folder, which has a /proc of its own.
pub fn in_chroot(root: &str, path: &str) {
    std::os::unix::fs::chroot(root).unwrap();
    std::env::set_current_dir("/").unwrap();
    std::io::stdout().write_all(&all(open(path, libc::O_RDONLY).unwrap().into())).unwrap();
}

/// Reads a table so many times.
pub fn often(count: usize, path: &str) {
    let first = all(open(path, libc::O_RDONLY).unwrap().into());
    for _ in 1..count {
        assert_eq!(all(open(path, libc::O_RDONLY).unwrap().into()), first);
    }
    std::io::stdout().write_all(&first).unwrap();
}

/// Becomes another guest.
pub fn become_guest(name: &str, arguments: &[&str]) -> ! {
    let error = Command::new("/proc/self/exe").args(["--guest", name]).args(arguments).exec();
    panic!("{error}");
}

/// Reads a table in so many processes, one after the other.
pub fn in_children(count: usize, path: &str) {
    for _ in 0..count {
        // SAFETY: one thread; the child reads and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            for _ in 0..5 {
                let _ = all(open(path, libc::O_RDONLY).unwrap().into());
            }
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        let mut status = 0;
        // SAFETY: a local variable.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }
    std::io::stdout().write_all(&all(open(path, libc::O_RDONLY).unwrap().into())).unwrap();
}

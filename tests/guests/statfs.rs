//! statfs and fstatfs with guard bytes around the struct.

use super::calls::{checked, open, string};
use std::os::fd::AsRawFd;

const GUARD: usize = 64;
const STRUCT: usize = 120;

/// A buffer that shows every byte that is written.
struct Buffer([u8; GUARD + STRUCT + GUARD]);

impl Buffer {
    fn new() -> Self {
        let mut bytes = [0; GUARD + STRUCT + GUARD];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(index % 251).unwrap() ^ 0xA5;
        }
        Buffer(bytes)
    }

    fn at(&mut self) -> *mut u8 {
        self.0[GUARD..].as_mut_ptr()
    }

    fn show(&self, call: &str, path: &str, result: Result<i64, i32>) {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let (before, rest) = self.0.split_at(GUARD);
        let (bytes, after) = rest.split_at(STRUCT);
        println!(
            "{call} {path} {result:?} {} {} {} {}",
            hex(&bytes[..8]),
            hex(&bytes[8..]),
            hex(before),
            hex(after)
        );
    }
}

/// One line per call and path: result, the type's bytes, the other bytes, the guards.
pub fn show(paths: &[String]) {
    for path in paths {
        let name = string(path);
        let mut buffer = Buffer::new();
        // SAFETY: a string that ends in NUL, and room for the struct.
        let result = checked(unsafe { libc::syscall(libc::SYS_statfs, name.as_ptr(), buffer.at()) });
        buffer.show("statfs", path, result);
        let mut buffer = Buffer::new();
        let flags = [libc::O_RDONLY, libc::O_PATH];
        let Some(file) = flags.iter().find_map(|flags| open(path, *flags).ok()) else { continue };
        // SAFETY: as above.
        let result = checked(unsafe { libc::syscall(libc::SYS_fstatfs, file.as_raw_fd(), buffer.at()) });
        buffer.show("fstatfs", path, result);
    }
}

/// Calls that fail.
pub fn errors() {
    let mut buffer = Buffer::new();
    let long = "x/".repeat(3000);
    for path in ["/no/such/file", "", "/etc/passwd/x", &long] {
        let name = string(path);
        // SAFETY: as above.
        let result = checked(unsafe { libc::syscall(libc::SYS_statfs, name.as_ptr(), buffer.at()) });
        buffer.show("statfs", &path[..path.len().min(20)], result);
    }
    let name = string("/dev/shm");
    for address in [0usize, 1, 0x1000, usize::MAX, usize::MAX - 4096] {
        // SAFETY: the kernel answers EFAULT to addresses that are not ours.
        let (bad_path, bad_buffer, bad_fd) = unsafe {
            (
                checked(libc::syscall(libc::SYS_statfs, address, buffer.at())),
                checked(libc::syscall(libc::SYS_statfs, name.as_ptr(), address)),
                checked(libc::syscall(libc::SYS_fstatfs, -1, address)),
            )
        };
        println!("{address:#x} {bad_path:?} {bad_buffer:?} {bad_fd:?}");
    }
    for fd in [-1, 99, i32::MAX] {
        // SAFETY: as above.
        let result = checked(unsafe { libc::syscall(libc::SYS_fstatfs, fd, buffer.at()) });
        buffer.show("fstatfs", &fd.to_string(), result);
    }
    // A buffer of which only the first half can be written.
    // SAFETY: a mapping of our own, of two pages; then one page less.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let pages = libc::mmap(std::ptr::null_mut(), 8192, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        libc::munmap(pages.byte_add(4096), 4096);
        let half = pages.byte_add(4096 - 60);
        println!("half a buffer: {:?}", checked(libc::syscall(libc::SYS_statfs, name.as_ptr(), half)));
        // A path that ends where its page ends.
        let at = pages.byte_add(4096 - 9).cast::<u8>();
        std::ptr::copy_nonoverlapping(c"/dev/shm".as_ptr().cast(), at, 9);
        println!("path at a page's end: {:?}", checked(libc::syscall(libc::SYS_statfs, at, buffer.at())));
        let at = pages.byte_add(4096 - 8).cast::<u8>();
        std::ptr::copy_nonoverlapping(b"/dev/shm".as_ptr(), at, 8);
        println!("path without an end: {:?}", checked(libc::syscall(libc::SYS_statfs, at, buffer.at())));
    }
}

/// Many calls, all with the same answer.
pub fn often(count: usize, path: &str) {
    let name = string(path);
    let mut types = std::collections::BTreeMap::<i64, usize>::new();
    for _ in 0..count {
        // SAFETY: the struct is plain integers; as above.
        let mut buffer: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_statfs, name.as_ptr(), &raw mut buffer) };
        *types.entry(buffer.f_type).or_default() += 1;
    }
    println!("{types:x?}");
}

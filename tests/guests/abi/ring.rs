//! io_uring without a library: one request at a time.

use super::super::calls::string;
use super::super::injection::{raw, read_all};
use std::io::Write;
use std::ptr::with_exposed_provenance_mut;

const OP_OPENAT: u8 = 18;
const OP_STATX: u8 = 21;
const OP_OPENAT2: u8 = 28;
const ENTER_GETEVENTS: u32 = 1;

/// A ring with its three mappings.
struct Ring {
    fd: i64,
    submission: u64,
    completion: u64,
    entries: u64,
    /// `struct io_uring_params` (linux/io_uring.h), as words.
    params: [u32; 30],
}

impl Ring {
    /// None where the kernel doesn't have it, or not for us: the errno.
    fn new() -> Result<Ring, i64> {
        let mut params = [0u32; 30];
        let fd = raw!(libc::SYS_io_uring_setup, 4, params.as_mut_ptr());
        if fd < 0 {
            return Err(fd);
        }
        let map = |offset: u64| {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let at = raw!(libc::SYS_mmap, 0, 4096, protection, libc::MAP_SHARED, fd, offset);
            assert!(at > 0, "mmap: {at}");
            at as u64
        };
        let (submission, completion, entries) = (map(0), map(0x0800_0000), map(0x1000_0000));
        Ok(Ring { fd, submission, completion, entries, params })
    }

    fn word(&self, base: u64, offset: usize) -> *mut u32 {
        with_exposed_provenance_mut((base + u64::from(self.params[offset])) as usize)
    }

    /// Submits one request, and waits for its result.
    fn run(&self, request: [u64; 8]) -> i32 {
        // SAFETY: within the mappings, at the offsets that the kernel gave: sq_off at word 10 (head, tail,
        // ring_mask, ring_entries, flags, dropped, array), cq_off at word 20 (…, cqes at its sixth).
        unsafe {
            with_exposed_provenance_mut::<[u64; 8]>(self.entries as usize).write_volatile(request);
            self.word(self.submission, 16).write_volatile(0);
            let tail = self.word(self.submission, 11);
            tail.write_volatile(tail.read_volatile() + 1);
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            loop {
                let done = raw!(libc::SYS_io_uring_enter, self.fd, 1, 1, ENTER_GETEVENTS, 0, 0);
                if done != -i64::from(libc::EINTR) {
                    assert_eq!(done, 1, "io_uring_enter");
                    break;
                }
            }
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            let head = self.word(self.completion, 20);
            let mask = self.word(self.completion, 22).read_volatile();
            let index = head.read_volatile() & mask;
            // `struct io_uring_cqe`: user_data, res, flags.
            let entry: *mut i32 = self.word(self.completion, 25).cast::<i32>().add(index as usize * 4);
            let result = entry.add(2).read_volatile();
            head.write_volatile(head.read_volatile() + 1);
            result
        }
    }
}

fn request(operation: u8, folder: i32, address: u64, length: u32, offset: u64, flags: u32) -> [u64; 8] {
    let first = u64::from(operation) | u64::from(folder.cast_unsigned()) << 32;
    [first, offset, address, u64::from(length) | u64::from(flags) << 32, 0, 0, 0, 0]
}

/// Opens a table by a ring.
pub fn show(table: &str) {
    let ring = match Ring::new() {
        Ok(ring) => ring,
        Err(error) => return println!("io_uring_setup: {error}"),
    };
    let path = string(table);
    let how = [0u64; 3];
    let mut answer = [0u8; 256];
    let status = ring.run(request(
        OP_STATX,
        libc::AT_FDCWD,
        path.as_ptr() as u64,
        0x7ff,
        answer.as_mut_ptr() as u64,
        0,
    ));
    println!("statx: {status}, mode {:o}", u16::from_le_bytes([answer[28], answer[29]]));
    for request in [
        request(OP_OPENAT, libc::AT_FDCWD, path.as_ptr() as u64, 0, 0, 0),
        request(OP_OPENAT2, libc::AT_FDCWD, path.as_ptr() as u64, 24, how.as_ptr() as u64, 0),
    ] {
        let fd = ring.run(request);
        println!("open: {}", fd.min(0));
        if fd >= 0 {
            std::io::stdout().write_all(read_all(fd.into())).unwrap();
            raw!(libc::SYS_close, fd);
        }
    }
}

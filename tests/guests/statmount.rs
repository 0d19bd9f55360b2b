//! statmount(2) of Linux 6.8, field by field.

use super::calls::{checked, string};

const SYS_STATMOUNT: libc::c_long = 457;
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const SB_BASIC: u64 = 0x1;
const MNT_BASIC: u64 = 0x2;
const MNT_ROOT: u64 = 0x8;
const MNT_POINT: u64 = 0x10;
const FS_TYPE: u64 = 0x20;
const HEADER: usize = 512;

pub fn show(path: &str) {
    let id = mount_id(path);
    for mask in
        [SB_BASIC | MNT_BASIC | MNT_ROOT | MNT_POINT | FS_TYPE, FS_TYPE, SB_BASIC, MNT_POINT | MNT_ROOT]
    {
        let (answer, smaller) = growing(id, mask);
        // The caller knows how much larger than the kernel's an answer may be.
        println!("mask {mask:#x}: all smaller buffers were refused with {smaller:?}");
        println!("  answered {:#x}", word(&answer, 8));
        println!("  magic {:#x}, device {}:{}", word(&answer, 24), half(&answer, 16), half(&answer, 20));
        println!("  mount flags {:#x}, propagation {:#x}", word(&answer, 64), word(&answer, 72));
        for (bit, name, at) in [(FS_TYPE, "type", 36), (MNT_ROOT, "root", 104), (MNT_POINT, "point", 108)] {
            if mask & bit != 0 {
                println!("  {name} {}", text(&answer, at));
            }
        }
        println!("  behind the answer {}", answer[half(&answer, 0) as usize..].iter().all(|b| *b == 0x5A));
    }
    let mut buffer = vec![0; 4096];
    println!("no such mount: {:?}", call(u64::MAX, FS_TYPE, &mut buffer));
}

fn mount_id(path: &str) -> u64 {
    let path = string(path);
    // SAFETY: plain integers.
    let mut buffer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends in NUL, and the struct.
    let result =
        unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, STATX_MNT_ID_UNIQUE, &raw mut buffer) };
    assert_eq!(result, 0);
    buffer.stx_mnt_id
}

fn call(id: u64, mask: u64, buffer: &mut [u8]) -> Result<i64, i32> {
    // `struct mnt_id_req`: size, spare, id, what is wanted.
    let request: [u64; 3] = [24, id, mask];
    // SAFETY: the request's size is in it; the buffer's is given.
    checked(unsafe { libc::syscall(SYS_STATMOUNT, request.as_ptr(), buffer.as_mut_ptr(), buffer.len(), 0) })
}

/// Asks with larger and larger buffers, as a caller would; the answer, and what came before it.
fn growing(id: u64, mask: u64) -> (Vec<u8>, Vec<i32>) {
    let mut errors = std::collections::BTreeSet::new();
    for size in HEADER.. {
        let mut buffer = vec![0x5A; size + 64];
        match call(id, mask, &mut buffer[..size]) {
            Ok(_) => return (buffer, errors.into_iter().collect()),
            Err(errno) if size < 8192 => drop(errors.insert(errno)),
            Err(errno) => panic!("errno {errno} with {size} bytes"),
        }
    }
    unreachable!()
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn text(bytes: &[u8], at: usize) -> String {
    let string = &bytes[HEADER + half(bytes, at) as usize..];
    String::from_utf8_lossy(string.split(|b| *b == 0).next().unwrap()).into_owned()
}

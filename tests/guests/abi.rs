//! Calls by every gate that the processor has, with all registers known before and shown after, and
//! children made in every way.

pub mod children;
pub mod ring;

use super::calls::string;
use super::injection::{raw, read_all};
use std::arch::global_asm;
use std::io::Write;

/// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15, the flags, and by how much rsp changed.
const REGISTERS: usize = 17;

unsafe extern "C" {
    fn fsmasq_test_int80(registers: *mut [u64; REGISTERS]);
    fn fsmasq_test_syscall(registers: *mut [u64; REGISTERS]);
}

macro_rules! gate {
    ($name:literal, $instruction:literal) => {
        global_asm!(
            concat!(".globl ", $name),
            concat!($name, ":"),
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "push rdi",
            "mov rax, [rdi]",
            "mov rbx, [rdi + 8]",
            "mov rcx, [rdi + 16]",
            "mov rdx, [rdi + 24]",
            "mov rsi, [rdi + 32]",
            "mov rbp, [rdi + 48]",
            "mov r8, [rdi + 56]",
            "mov r9, [rdi + 64]",
            "mov r10, [rdi + 72]",
            "mov r11, [rdi + 80]",
            "mov r12, [rdi + 88]",
            "mov r13, [rdi + 96]",
            "mov r14, [rdi + 104]",
            "mov r15, rsp",
            "mov rdi, [rdi + 40]",
            // The carry flag is one that calls leave alone.
            "stc",
            $instruction,
            "push rdi",
            "lea rdi, [rsp + 8]",
            "sub r15, rdi",
            "pushfq",
            "mov rdi, [rsp + 16]",
            "mov [rdi], rax",
            "mov [rdi + 8], rbx",
            "mov [rdi + 16], rcx",
            "mov [rdi + 24], rdx",
            "mov [rdi + 32], rsi",
            "mov [rdi + 48], rbp",
            "mov [rdi + 56], r8",
            "mov [rdi + 64], r9",
            "mov [rdi + 72], r10",
            "mov [rdi + 80], r11",
            "mov [rdi + 88], r12",
            "mov [rdi + 96], r13",
            "mov [rdi + 104], r14",
            "mov [rdi + 128], r15",
            "pop rax",
            "mov [rdi + 120], rax",
            "pop rax",
            "mov [rdi + 40], rax",
            "pop rdi",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            "ret",
        );
    };
}
gate!("fsmasq_test_int80", "int 0x80");
gate!("fsmasq_test_syscall", "syscall");

/// Makes a call by a gate, with odd values in all registers that are no arguments; shows all of them.
fn through(
    gate: unsafe extern "C" fn(*mut [u64; REGISTERS]),
    name: &str,
    call: &str,
    at: &[(usize, u64)],
) -> i64 {
    let mut registers = [0; REGISTERS];
    for (index, register) in registers.iter_mut().enumerate() {
        *register = 0x1_5A5A_0000 + index as u64;
    }
    for (index, value) in at {
        registers[*index] = *value;
    }
    // SAFETY: the routine follows the C calling convention, and stores so many words; the calls get room of ours.
    unsafe { gate(&raw mut registers) };
    // Where the page lies, and where the code.
    let page = LOW.load(std::sync::atomic::Ordering::SeqCst);
    let shown: Vec<String> = registers
        .iter()
        .enumerate()
        .map(|(index, value)| match (value & 0xFFFF_FFFF).checked_sub(page) {
            Some(distance) if distance < 4096 => format!("{:x}/page+{distance:x}", value >> 32),
            // After `syscall` rcx has the address of the code.
            _ if name == "syscall" && index == 2 => "code".to_owned(),
            _ => format!("{value:x}"),
        })
        .collect();
    println!("{name} {call}: {}", shown.join(" "));
    registers[0].cast_signed()
}

static LOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// A page below 4 GiB, where 32-bit arguments reach; the text at its start.
fn low_page(text: &str) -> u64 {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
    let page = raw!(libc::SYS_mmap, 0, 4096, protection, flags, -1, 0);
    assert!(page > 0, "mmap: {page}");
    let text = string(text);
    let bytes = text.as_bytes_with_nul();
    // SAFETY: a page of ours.
    unsafe {
        std::ptr::copy_nonoverlapping(
            bytes.as_ptr(),
            std::ptr::with_exposed_provenance_mut(page as usize),
            bytes.len(),
        );
    }
    LOW.store(page as u64, std::sync::atomic::Ordering::SeqCst);
    page as u64
}

/// Where structs are put in the page.
const ROOM: u64 = 2048;

/// The struct that a call has filled, and bytes around it.
fn show_room(page: u64) {
    let bytes: Vec<String> = (0..160)
        .map(|index| {
            // SAFETY: within the page.
            let byte: u8 = unsafe {
                std::ptr::read_volatile(std::ptr::with_exposed_provenance(
                    (page + ROOM - 16 + index) as usize,
                ))
            };
            format!("{byte:02x}")
        })
        .collect();
    println!("  {}  {}", bytes[16..20].join(""), bytes.join(""));
}

fn fill_room(page: u64) {
    // SAFETY: within the page.
    unsafe {
        std::ptr::write_bytes(
            std::ptr::with_exposed_provenance_mut::<u8>((page + ROOM - 16) as usize),
            0xA5,
            400,
        );
    }
}

/// 64-bit code may call by the numbers and registers of 32-bit code: the call's ABI counts, not the code's.
/// `PATH` for statfs, `TABLE` to read.
pub fn int80(path: &str, table: &str) {
    const AT_FDCWD: u64 = 0xFFFF_FF9C;
    let gate = |call: &str, at: &[(usize, u64)]| through(fsmasq_test_int80, "int80", call, at);
    let page = low_page(path);
    fill_room(page);
    // Upper halves that are no part of a 32-bit argument.
    let high = 0xDEAD_0000_0000_0000;
    gate("statfs", &[(0, 99), (1, page | high), (2, page + ROOM)]);
    show_room(page);
    fill_room(page);
    gate("statfs64", &[(0, 268), (1, page), (2, 84), (3, page + ROOM)]);
    show_room(page);
    fill_room(page);
    let fd = gate("open a folder", &[(0, 5), (1, page), (2, 0), (3, 0)]);
    gate("fstatfs", &[(0, 100), (1, fd as u64 | high), (2, page + ROOM)]);
    show_room(page);
    fill_room(page);
    gate("fstatfs64", &[(0, 269), (1, fd as u64), (2, 84), (3, page + ROOM)]);
    show_room(page);
    gate("statfs of nothing", &[(0, 99), (1, 8), (2, page + ROOM)]);
    raw!(libc::SYS_close, fd);
    let page = low_page(table);
    let open = gate("open", &[(0, 5), (1, page), (2, 0), (3, 0)]);
    show_table(open);
    let openat = gate("openat", &[(0, 295), (1, AT_FDCWD), (2, page | high), (3, 0), (4, 0)]);
    show_table(openat);
    // `struct open_how`: three words.
    for word in 0..3 {
        // SAFETY: within the page.
        unsafe {
            let at = std::ptr::with_exposed_provenance_mut::<u64>((page + ROOM) as usize);
            at.add(word).write(0);
        }
    }
    let openat2 = gate("openat2", &[(0, 437), (1, AT_FDCWD), (2, page), (3, page + ROOM), (4, 24)]);
    show_table(openat2);
    gate("open of nothing", &[(0, 5), (1, page + 1), (2, 0), (3, 0)]);
}

fn show_table(fd: i64) {
    assert!(fd >= 0, "open: {fd}");
    std::io::stdout().write_all(read_all(fd)).unwrap();
    raw!(libc::SYS_close, fd);
}

/// The same numbers as of 64-bit calls, with bit 30 set: on most kernels ENOSYS.
pub fn x32(path: &str, table: &str) {
    const X32: u64 = 0x4000_0000;
    let gate = |call: &str, at: &[(usize, u64)]| through(fsmasq_test_syscall, "syscall", call, at);
    let page = low_page(path);
    fill_room(page);
    gate("statfs by x32", &[(0, X32 | 137), (5, page), (4, page + ROOM)]);
    show_room(page);
    let page = low_page(table);
    for (call, at) in [
        ("open by x32", [(0, X32 | 2), (5, page), (4, 0), (3, 0)]),
        ("openat by x32", [(0, X32 | 257), (5, -100i64 as u64), (4, page), (3, 0)]),
        // The one with the number's upper half set: only the lower one counts.
        ("openat with a high number", [(0, 0xDEAD_0000_0000_0101), (5, -100i64 as u64), (4, page), (3, 0)]),
        ("no such call", [(0, 0x3FFF), (5, 0), (4, page), (3, 0)]),
    ] {
        let fd = gate(call, &at);
        if fd >= 0 {
            show_table(fd);
        }
    }
}

/// The three calls of the page at a fixed address, which old programs jump into.
pub fn vsyscall() {
    let time_of_day: extern "C" fn(*mut libc::timeval, usize) -> i64;
    let time: extern "C" fn(*mut i64) -> i64;
    let cpu: extern "C" fn(*mut u32, *mut u32, usize) -> i64;
    // SAFETY: these are the addresses (linux/arch/x86/entry/vsyscall); the test looks first whether they are mapped.
    unsafe {
        time_of_day = std::mem::transmute::<usize, extern "C" fn(*mut libc::timeval, usize) -> i64>(
            0xffff_ffff_ff60_0000,
        );
        time = std::mem::transmute::<usize, extern "C" fn(*mut i64) -> i64>(0xffff_ffff_ff60_0400);
        cpu = std::mem::transmute::<usize, extern "C" fn(*mut u32, *mut u32, usize) -> i64>(
            0xffff_ffff_ff60_0800,
        );
    }
    let seconds = |clock| {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is one writable timespec.
        assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut now) }, 0);
        now.tv_sec
    };
    for _ in 0..1000 {
        // `time` reads the clock as of the last tick, so for a few milliseconds a second it is one behind the exact one.
        let before = seconds(libc::CLOCK_REALTIME_COARSE);
        let mut value = libc::timeval { tv_sec: 0, tv_usec: 0 };
        assert_eq!(time_of_day(&raw mut value, 0), 0);
        let mut stored = 0;
        let returned = time(&raw mut stored);
        let after = seconds(libc::CLOCK_REALTIME);
        assert!((before..=after).contains(&value.tv_sec) && (before..=after).contains(&returned));
        assert_eq!(stored, returned);
        let (mut number, mut node) = (u32::MAX, u32::MAX);
        assert_eq!(cpu(&raw mut number, &raw mut node, 0), 0);
        assert!(number < 8192 && node < 1024);
    }
    println!("the time and the processor");
}

//! Whether injected calls leave a trace in the program: registers, stack, signal mask, memory map.

use super::calls::string;
use std::arch::global_asm;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};

/// Words that `fsmasq_test_probe` stores.
pub const WORDS: usize = 20;

unsafe extern "C" {
    /// Opens `path` with every register and the red zone full of known values; stores what they are after.
    pub fn fsmasq_test_probe(path: *const libc::c_char, seen: *mut [u64; WORDS]);
}

global_asm!(
    ".globl fsmasq_test_probe",
    "fsmasq_test_probe:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "push rsi",
    "mov rsi, rdi",
    // The red zone: 16 words below the stack pointer.
    "mov rcx, -16",
    "2: mov [rsp + 8*rcx], rcx",
    "inc rcx",
    "jnz 2b",
    "mov rax, 0x5A5A5A5A12345678",
    "movq xmm0, rax",
    "movq xmm15, rax",
    "mov rbx, 0x1111",
    "mov rbp, 0x2222",
    "mov r12, 0x3333",
    "mov r13, 0x4444",
    "mov r14, 0x5555",
    "mov r15, rsp",
    "mov r8, 0x6666",
    "mov r9, 0x7777",
    "mov r10, 0x8888",
    "mov rdi, -100",
    "mov rdx, 0",
    "mov rax, 257",
    "stc",
    "syscall",
    "mov r11, [rsp]",
    "mov [r11], rax",
    // The carry flag, which the kernel restores.
    "setc al",
    "movzx rax, al",
    "mov [r11 + 8], rax",
    "mov [r11 + 16], rbx",
    "mov [r11 + 24], rbp",
    "mov [r11 + 32], r12",
    "mov [r11 + 40], r13",
    "mov [r11 + 48], r14",
    "sub r15, rsp",
    "mov [r11 + 56], r15",
    "mov [r11 + 64], r8",
    "mov [r11 + 72], r9",
    "mov [r11 + 80], r10",
    "mov [r11 + 88], rdi",
    "mov [r11 + 96], rdx",
    // rsi: the path still.
    "sub rsi, [rsp + 8]",
    "mov [r11 + 104], rsi",
    "movq rax, xmm0",
    "mov [r11 + 112], rax",
    "movq rax, xmm15",
    "mov [r11 + 120], rax",
    // Words of the red zone that changed.
    "xor rax, rax",
    "mov rcx, -16",
    "3: cmp [rsp + 8*rcx], rcx",
    "je 4f",
    "inc rax",
    "4: inc rcx",
    "jnz 3b",
    "mov [r11 + 128], rax",
    "pop rsi",
    "pop rdi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
);

pub fn show(path: &str) {
    let path = string(path);
    let mut seen = [0; WORDS];
    let mask_before = signal_mask();
    // SAFETY: the routine follows the C calling convention and stores WORDS words at most.
    unsafe { fsmasq_test_probe(path.as_ptr(), &raw mut seen) };
    assert_eq!(signal_mask(), mask_before);
    println!("{seen:x?}");
    // SAFETY: the call has opened it, or answered with a negative errno.
    let mut file = unsafe { File::from_raw_fd(i32::try_from(seen[0].cast_signed()).unwrap()) };
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    std::io::stdout().write_all(&text).unwrap();
}

fn signal_mask() -> [u64; 16] {
    let mut mask = [0; 16];
    // SAFETY: room for the C library's set of signals.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr().cast()) };
    mask
}

/// The memory map before and after, in buffers that are there already.
pub fn memory(path: &str) {
    let mut before = vec![0u8; 1 << 20];
    let mut after = vec![0u8; 1 << 20];
    let name = string(path);
    let maps = File::open("/proc/self/maps").unwrap();
    let maps_again = File::open("/proc/self/maps").unwrap();
    let length_before = read_all(&maps, &mut before);
    // SAFETY: a string that ends in NUL.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), libc::O_RDONLY) };
    let length_after = read_all(&maps_again, &mut after);
    assert!(fd >= 0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&before[..length_before]), text(&after[..length_after]));
    println!("the same map");
}

fn read_all(file: &File, buffer: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        let rest = &mut buffer[length..];
        // SAFETY: room for what is asked for.
        let read = unsafe { libc::read(file.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len()) };
        match usize::try_from(read).unwrap() {
            0 => return length,
            read => length += read,
        }
    }
}

//! Stops and calls: what the kernel says of them, the filter that picks them, registers, memory.

use super::Pieces;
use crate::arch::{AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, Abi, Call, Injected, X32_BIT, low32};
use crate::handlers::{self, Condition};
use crate::ptrace::memory::{WORD_BYTES, aligned_words};
use crate::ptrace::{RawInfo, SyscallInfo};
use crate::seccomp;
use crate::seccomp::Selection;
use crate::tracer::event::{Event, Stop, classify};
use crate::tracer::site;
use libc::{sock_filter, user_regs_struct};
use std::sync::LazyLock;

/// `struct ptrace_syscall_info`, and that its call is dispatched by its number and architecture alone.
pub fn syscall_info(input: &[u8]) {
    const BYTES: usize = size_of::<RawInfo>();
    let bytes: [u8; BYTES] = Pieces(input).take();
    // SAFETY: integers only, for which all bytes are values, and the same size.
    let info = unsafe { std::mem::transmute::<[u8; BYTES], RawInfo>(bytes) }.decode();
    let mut pieces = Pieces(&bytes);
    let kind = pieces.word() & 0xFF;
    let architecture = pieces.word();
    let _addresses: [u8; 16] = pieces.take();
    let number = pieces.long();
    let arguments: [u64; 6] = std::array::from_fn(|_| pieces.long());
    match info {
        SyscallInfo::Entry { arch, call } => {
            assert_eq!((kind, arch, call.number, call.arguments), (1, architecture, number, arguments));
            let abi = Abi::of(arch, number);
            assert_eq!(abi == Abi::I386, arch == AUDIT_ARCH_I386);
            if let Some(handled) = handlers::find(abi, number) {
                let bit = if abi == Abi::X32 { X32_BIT } else { 0 };
                assert_eq!(handled.call.number(abi).map(|n| n | bit), Some(low32(number)));
            }
        }
        SyscallInfo::Exit => assert_eq!(kind, 2),
        SyscallInfo::Seccomp { data, call } => {
            let word = pieces.word();
            assert_eq!((kind, data, call.number, call.arguments), (3, word, number, arguments));
            if let Some(abi) = seccomp::abi_of_stop(u64::from(data)) {
                assert_eq!(u32::from(seccomp::stop_data(abi)), data);
            }
        }
        SyscallInfo::Other => assert!(!(1..=3).contains(&kind)),
    }
}

/// The filter stops what the dispatch handles, and nothing else.
pub fn filter(input: &[u8]) {
    static PROGRAMS: LazyLock<[Vec<sock_filter>; 2]> = LazyLock::new(|| {
        [false, true].map(|all_files| seccomp::program(Selection { all_files, stubs: true }))
    });
    let mut pieces = Pieces(input);
    let [kind] = pieces.take();
    let arch = match kind & 3 {
        0 | 1 => AUDIT_ARCH_X86_64,
        2 => AUDIT_ARCH_I386,
        _ => pieces.word(),
    };
    let number = match kind & 4 {
        // The numbers that tables have, with x32's bit now and then.
        0 => u32::from(u16::from_le_bytes(pieces.take()) & 0x3FF) | if kind & 8 == 0 { 0 } else { X32_BIT },
        _ => pieces.word(),
    };
    let arguments: [u64; 6] = std::array::from_fn(|_| pieces.long());
    let abi = Abi::of(arch, u64::from(number));
    for (all_files, program) in [false, true].into_iter().zip(PROGRAMS.iter()) {
        let flags = |argument: u32| arguments[argument as usize & 7];
        let ignored = if all_files {
            libc::O_DIRECTORY
        } else {
            libc::O_WRONLY | libc::O_CREAT | libc::O_DIRECTORY | libc::O_PATH
        };
        let known = arch == AUDIT_ARCH_X86_64 || arch == AUDIT_ARCH_I386;
        let stops = handlers::find(abi, u64::from(number)).is_some_and(|handled| match handled.condition {
            Condition::Always => true,
            Condition::OpenFlags { argument } => flags(argument) & u64::from(ignored.cast_unsigned()) == 0,
            Condition::AnyOf { argument, bits } => flags(argument) & u64::from(bits) != 0,
            Condition::OneOf { argument, values } => values.contains(&low32(flags(argument))),
        });
        let stop = libc::SECCOMP_RET_TRACE | u32::from(seccomp::stop_data(abi));
        let expected = if known && stops { stop } else { libc::SECCOMP_RET_ALLOW };
        assert_eq!(answer(program, number, arch, arguments), Some(expected));
    }
}

/// What a kernel answers (linux/filter.h); None where it would refuse the program.
fn answer(program: &[sock_filter], number: u32, arch: u32, arguments: [u64; 6]) -> Option<u32> {
    let mut data = [number, arch, 0, 0].to_vec();
    data.extend(arguments.iter().flat_map(|long| [low32(*long), low32(*long >> 32)]));
    let (mut at, mut word) = (0, 0u32);
    loop {
        let step = program.get(at)?;
        let holds = match step.code {
            0x20 if step.k.is_multiple_of(4) => {
                word = *data.get(step.k as usize / 4)?;
                None
            }
            0x54 => {
                word &= step.k;
                None
            }
            0x15 => Some(word == step.k),
            0x35 => Some(word >= step.k),
            0x45 => Some(word & step.k != 0),
            0x06 => return Some(step.k),
            _ => return None,
        };
        at += 1 + holds.map_or(0, |holds| usize::from(if holds { step.jt } else { step.jf }));
    }
}

/// A status of wait4(2): its bits as of wait(2) and ptrace(2).
pub fn wait_status(input: &[u8]) {
    let status = Pieces(input).word().cast_signed();
    let (low, signal, event) = (status & 0xFF, status >> 8 & 0xFF, status >> 16);
    match classify(status) {
        Event::Exited { code } => assert_eq!((low & 0x7F, code), (0, signal)),
        Event::Killed { signal } => assert!(signal == low & 0x7F && (1..0x7F).contains(&signal)),
        // 0xFF is not asked for: WCONTINUED.
        Event::Stopped(stop) => {
            assert!(low == 0x7F || low == 0xFF);
            let is_job_control =
                [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
            match stop {
                Stop::Syscall => assert_eq!((event, signal), (0, 0x85)),
                Stop::Signal { signal: told } => {
                    assert!(event == 0 && told == signal && signal != 0x85);
                }
                Stop::NewTask => assert!((1..=3).contains(&event)),
                Stop::Exec => assert_eq!(event, 4),
                Stop::End => assert_eq!(event, 6),
                Stop::Seccomp => assert_eq!(event, 7),
                Stop::Group { signal: told } => {
                    assert!(event == 128 && told == signal && is_job_control);
                }
                Stop::Trap => assert!(event == 128 && !is_job_control),
                Stop::Other { event: told } => {
                    assert!(told == event && ![0, 1, 2, 3, 4, 6, 7, 128].contains(&event));
                }
            }
        }
    }
}

/// An injected call changes the registers that it needs; a call made again can be taken back.
pub fn registers(input: &[u8]) {
    let mut pieces = Pieces(input);
    let arguments: [u64; 6] = std::array::from_fn(|_| pieces.long());
    let mut before = pieces.registers();
    // Behind an instruction, wherever that is.
    before.0.rip = before.0.rip.max(2);
    for abi in [Abi::X86_64, Abi::I386, Abi::X32] {
        let mut after = before;
        after.inject(abi, Injected::Openat, arguments);
        let narrow = |word: u64| if abi == Abi::I386 { u64::from(low32(word)) } else { word };
        assert_eq!(after.arguments(abi), arguments.map(narrow));
        assert!(Call::Openat.is(abi, after.number()) && after.0.rax == after.0.orig_rax);
        assert_eq!(after.0.rip, before.0.rip - 2);
        let kept = |r: &user_regs_struct| [r.rsp, r.r11, r.r12, r.r13, r.r14, r.r15, r.eflags, r.cs, r.ss];
        assert_eq!(kept(&after.0), kept(&before.0));

        let mut changed = before;
        changed.set_first_argument(abi, arguments[0]);
        assert_eq!(changed.arguments(abi)[0], narrow(arguments[0]));
        assert_eq!(changed.arguments(abi)[1..], before.arguments(abi)[1..]);
    }
    let mut again = before;
    again.call_again();
    assert!(again.same_place(&again) && again.0.rax == before.0.orig_rax);
    again.call_was_interrupted();
    assert!(again.0.rip == before.0.rip && again.result(again.likely_abi()) == -i64::from(libc::EINTR));
}

/// Words that cover a range of memory exactly, each of them aligned.
pub fn memory_words(input: &[u8]) {
    let mut pieces = Pieces(input);
    let (address, length) = (pieces.long(), usize::from(u16::from_le_bytes(pieces.take())));
    let mut done = 0;
    for part in aligned_words(address, length) {
        assert!(part.word_address.is_multiple_of(WORD_BYTES as u64));
        assert!(part.of_word.end <= WORD_BYTES && part.of_word.len() == part.of_buffer.len());
        let at = part.word_address.wrapping_add(part.of_word.start as u64);
        assert_eq!((at, part.of_buffer.start), (address.wrapping_add(done as u64), done));
        assert!(!part.of_word.is_empty());
        done = part.of_buffer.end;
    }
    assert_eq!(done, length);
}

/// An auxiliary vector, as 64-bit and 32-bit programs have it: the first of a key's values, in whole pairs.
pub fn auxv(input: &[u8]) {
    let mut pieces = Pieces(input);
    let key = pieces.long();
    let vector = pieces.0;
    for width in [4, 8] {
        let mut expected = None;
        for at in (0..vector.len() / (2 * width)).rev() {
            let mut pair = Pieces(&vector[at * 2 * width..(at + 1) * 2 * width]);
            let mut word = || if width == 4 { u64::from(pair.word()) } else { pair.long() };
            let (found, value) = (word(), word());
            expected = if found == key { Some(value) } else { expected };
        }
        assert_eq!(site::value(vector, width, key), expected);
    }
}

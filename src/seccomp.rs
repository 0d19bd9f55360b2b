//! The BPF program that decides, in the kernel, which calls stop: built from the table of handled
//! calls, pure, and tested by an interpreter.
//!
//! The number decides first, so that the kernel's (and gVisor's) per-number cache answers for all
//! other calls without running the program. Only then does an open's flags word count.

use crate::arch::Abi;
#[cfg(target_arch = "x86_64")]
use crate::arch::{AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, X32_BIT};
#[cfg(target_arch = "x86_64")]
use crate::fast_path;
use crate::handlers::{Condition, HANDLED, Handled};
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Upper byte of the 16 bits of data in our SECCOMP_RET_TRACE; the low byte says the ABI. A filter
/// of the program's own that answers RET_TRACE has other data, most likely.
const OUR_DATA: u16 = 0x9F00;

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// Behind the instruction that makes the call.
const OFFSET_INSTRUCTION: u32 = 8;
const OFFSET_ARGUMENTS: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// An open with one of these can't read a mount table: O_WRONLY, O_CREAT, O_DIRECTORY, O_PATH.
const NEVER_READS: u32 = (libc::O_WRONLY | libc::O_CREAT | libc::O_DIRECTORY | libc::O_PATH).cast_unsigned();
/// With file rules, opens for writing matter as well, and those by O_PATH: container runtimes open so
/// first, and then again by /proc/self/fd/N.
const NEVER_A_FILE: u32 = libc::O_DIRECTORY.cast_unsigned();

/// The data of the stop that a call made under `abi` raises.
pub fn stop_data(abi: Abi) -> u16 {
    OUR_DATA | abi as u16
}

/// The ABI in a stop's data (PTRACE_GETEVENTMSG), or None where another filter raised the stop.
pub fn abi_of_stop(data: u64) -> Option<Abi> {
    Abi::ALL.into_iter().find(|abi| u64::from(stop_data(*abi)) == data)
}

/// Which of the calls that matter are to stop.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// Whether opens for writing and by O_PATH are of interest too (file rules).
    pub all_files: bool,
    /// Whether opens pass that a stub of the fast path makes. No boundary of security: whoever maps something there
    /// opens what it wants, and sees 9p.
    pub stubs: bool,
}

/// The flags by which an open is of no interest.
pub fn ignored_flags(all_files: bool) -> u32 {
    if all_files { NEVER_A_FILE } else { NEVER_READS }
}

/// The program.
pub fn program(selection: Selection) -> Vec<sock_filter> {
    build(selection, |abi| ret(libc::SECCOMP_RET_TRACE | u32::from(stop_data(abi))))
}

/// For a task that is to live without a tracer: of two filters' answers this one counts (seccomp(2)), so its
/// supervisor can wave the calls through that would fail with ENOSYS otherwise.
pub fn bypass(selection: Selection) -> Vec<sock_filter> {
    build(selection, |_| ret(libc::SECCOMP_RET_USER_NOTIF))
}

/// A program that gives `answer` to the calls that matter, under each ABI.
fn build(selection: Selection, answer: impl Fn(Abi) -> sock_filter) -> Vec<sock_filter> {
    let mut code = vec![load(OFFSET_ARCH)];
    for (arch, calls) in by_architecture(|abi| section(abi, selection, answer(abi))) {
        // The conditional jumps' offsets are 8 bits: an architecture's calls are well below that.
        code.push(jump(BPF_JEQ, arch, 0, calls.len() + 1));
        code.push(load(OFFSET_NUMBER));
        code.extend(calls);
    }
    code.push(ret(ALLOW));
    code
}

/// What is to be done with a call's number, which is in the accumulator, for each AUDIT_ARCH_*. It ends in an answer,
/// as every section does, so none runs on into the next.
#[cfg(target_arch = "x86_64")]
fn by_architecture(section: impl Fn(Abi) -> Vec<sock_filter>) -> Vec<(u32, Vec<sock_filter>)> {
    let [x86_64, i386, x32] = Abi::ALL.map(section);
    let mut wide = vec![jump(libc::BPF_JGE, X32_BIT, x86_64.len(), 0)];
    wide.extend(x86_64);
    wide.push(statement(BPF_ALU_AND, !X32_BIT));
    wide.extend(x32);
    vec![(AUDIT_ARCH_X86_64, wide), (AUDIT_ARCH_I386, i386)]
}

#[cfg(target_arch = "aarch64")]
fn by_architecture(section: impl Fn(Abi) -> Vec<sock_filter>) -> Vec<(u32, Vec<sock_filter>)> {
    vec![(crate::arch::AUDIT_ARCH_AARCH64, section(Abi::NATIVE))]
}

#[cfg(target_arch = "x86_64")]
const BPF_ALU_AND: u32 = libc::BPF_ALU | libc::BPF_AND | BPF_K;

/// The number is in the accumulator: compare it with each handled call's, then look at flags.
fn section(abi: Abi, selection: Selection, answer: sock_filter) -> Vec<sock_filter> {
    let handled: Vec<(&Handled, u32)> =
        HANDLED.iter().filter_map(|h| Some((h, h.call.number(abi)?))).collect();

    let mut blocks: Vec<sock_filter> = vec![ret(ALLOW)];
    let mut code = Vec::new();
    for (index, (h, number)) in handled.iter().enumerate() {
        let comparisons_left = handled.len() - index - 1;
        code.push(jump(BPF_JEQ, *number, comparisons_left + blocks.len(), 0));
        // A test goes on to ALLOW, or jumps over that to the answer.
        let (argument, tests) = match h.condition {
            Condition::Always => (None, vec![]),
            Condition::OpenFlags { argument } => {
                let by_stub = if selection.stubs && abi == Abi::NATIVE { is_by_stub() } else { vec![] };
                let flags = jump(
                    BPF_JSET,
                    ignored_flags(selection.all_files),
                    by_stub.len(),
                    usize::from(by_stub.is_empty()),
                );
                (Some(argument), [vec![flags], by_stub].concat())
            }
            Condition::AnyOf { argument, bits } => (Some(argument), vec![jump(BPF_JSET, bits, 1, 0)]),
            Condition::OneOf { argument, values } => {
                let test =
                    |(position, value): (usize, &u32)| jump(BPF_JEQ, *value, values.len() - position, 0);
                (Some(argument), values.iter().enumerate().map(test).collect())
            }
        };
        if let Some(argument) = argument {
            blocks.push(load(OFFSET_ARGUMENTS + 8 * argument));
            blocks.extend(tests);
            blocks.push(ret(ALLOW));
        }
        blocks.push(answer);
    }
    code.extend(blocks);
    code
}

/// Goes on where a stub of the fast path makes the call, and skips one instruction where not.
#[cfg(target_arch = "x86_64")]
fn is_by_stub() -> Vec<sock_filter> {
    let [first, second] = fast_path::BASES.map(|base| base | fast_path::PASSING);
    vec![
        load(OFFSET_INSTRUCTION + 4),
        jump(BPF_JEQ, 0, 0, 5),
        load(OFFSET_INSTRUCTION),
        statement(BPF_ALU_AND, !fast_path::ANY_BLOCK),
        jump(BPF_JEQ, first, 1, 0),
        jump(BPF_JEQ, second, 0, 1),
    ]
}

/// There are no stubs.
#[cfg(not(target_arch = "x86_64"))]
fn is_by_stub() -> Vec<sock_filter> {
    vec![]
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn ret(value: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, value)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: narrow(code), jt: 0, jf: 0, k }
}

fn jump(condition: u32, k: u32, if_true: usize, if_false: usize) -> sock_filter {
    sock_filter { code: narrow(BPF_JMP | condition | BPF_K), jt: offset(if_true), jf: offset(if_false), k }
}

#[allow(clippy::cast_possible_truncation)] // every BPF opcode is below 0x100
fn narrow(code: u32) -> u16 {
    (code & 0xFFFF) as u16
}

#[allow(clippy::cast_possible_truncation)] // the tests run every path of the whole program
fn offset(instructions: usize) -> u8 {
    debug_assert!(instructions < 256);
    instructions as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Call;

    struct Data {
        number: u32,
        arch: u32,
        behind: u64,
        arguments: [u64; 6],
    }

    /// What the kernel would answer.
    fn run(program: &[sock_filter], data: &Data) -> u32 {
        let load = |offset: u32| match offset {
            0 => data.number,
            4 => data.arch,
            8 => crate::arch::low32(data.behind),
            12 => crate::arch::low32(data.behind >> 32),
            16.. => {
                let value = data.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) {
                    crate::arch::low32(value)
                } else {
                    crate::arch::low32(value >> 32)
                }
            }
            other => panic!("load of {other}"),
        };
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let i = program[at];
            at += 1;
            let code = u32::from(i.code);
            let taken = if code == BPF_LD | BPF_W | BPF_ABS {
                a = load(i.k);
                continue;
            } else if code == BPF_RET | BPF_K {
                return i.k;
            } else if code == BPF_ALU_AND {
                a &= i.k;
                continue;
            } else if code == BPF_JMP | BPF_JEQ | BPF_K {
                a == i.k
            } else if code == BPF_JMP | libc::BPF_JGE | BPF_K {
                a >= i.k
            } else if code == BPF_JMP | BPF_JSET | BPF_K {
                a & i.k != 0
            } else {
                panic!("opcode {code:#x}")
            };
            at += usize::from(if taken { i.jt } else { i.jf });
        }
    }

    fn answer(all_files: bool, abi: Abi, number: u32, arguments: [u64; 6]) -> u32 {
        let selection = Selection { all_files, stubs: true };
        answer_at(selection, abi, number, arguments, 0x7F00_050F_0112)
    }

    fn answer_at(selection: Selection, abi: Abi, number: u32, arguments: [u64; 6], behind: u64) -> u32 {
        let (arch, number) = match abi {
            Abi::X86_64 => (AUDIT_ARCH_X86_64, number),
            Abi::X32 => (AUDIT_ARCH_X86_64, number | X32_BIT),
            Abi::I386 => (AUDIT_ARCH_I386, number),
        };
        run(&program(selection), &Data { number, arch, behind, arguments })
    }

    const ABIS: [Abi; 3] = [Abi::X86_64, Abi::I386, Abi::X32];

    fn traced(abi: Abi) -> u32 {
        libc::SECCOMP_RET_TRACE | u32::from(stop_data(abi))
    }

    #[test]
    fn exactly_the_handled_numbers_stop() {
        for abi in ABIS {
            for number in 0..600 {
                let handled = HANDLED.iter().find(|h| h.call.number(abi) == Some(number));
                let stops = handled.is_some_and(|h| !matches!(h.condition, Condition::AnyOf { .. }));
                let expected = if stops { traced(abi) } else { ALLOW };
                assert_eq!(answer(false, abi, number, [0; 6]), expected, "{abi:?} {number}");
            }
        }
    }

    #[test]
    fn opens_by_a_stub_pass_and_nothing_else_does() {
        let read = [0; 6];
        for all_files in [false, true] {
            let at = |stubs, abi, number, behind| {
                answer_at(Selection { all_files, stubs }, abi, number, read, behind)
            };
            for base in fast_path::BASES.map(u64::from) {
                let passing = base + 0x80 * 7 + u64::from(fast_path::PASSING);
                for number in [2, 257] {
                    assert_eq!(at(true, Abi::X86_64, number, passing), ALLOW);
                    assert_eq!(at(true, Abi::X32, number, passing), traced(Abi::X32));
                    assert_eq!(at(false, Abi::X86_64, number, passing), traced(Abi::X86_64));
                    for elsewhere in [passing + 1, passing + 0x2F, passing + 0x1000, passing | 1 << 32] {
                        assert_eq!(at(true, Abi::X86_64, number, elsewhere), traced(Abi::X86_64));
                    }
                }
                assert_eq!(at(true, Abi::I386, 5, passing), traced(Abi::I386));
                assert_eq!(at(true, Abi::X86_64, 137, passing), traced(Abi::X86_64));
                assert_eq!(at(true, Abi::X86_64, 437, passing), traced(Abi::X86_64));
            }
        }
    }

    #[test]
    fn opens_that_cannot_read_a_table_do_not_stop() {
        for abi in ABIS {
            for (call, argument) in [(Call::Open, 1), (Call::Openat, 2)] {
                let number = call.number(abi).unwrap_or_default();
                for flag in [libc::O_WRONLY, libc::O_CREAT, libc::O_DIRECTORY, libc::O_PATH] {
                    let mut arguments = [u64::MAX << 32; 6];
                    arguments[argument] |= u64::from(flag.cast_unsigned());
                    assert_eq!(answer(false, abi, number, arguments), ALLOW, "{call:?} {flag:#o}");
                }
                for flag in [libc::O_RDONLY, libc::O_CLOEXEC, libc::O_RDWR, libc::O_NONBLOCK] {
                    let mut arguments = [u64::MAX; 6];
                    arguments[argument] = u64::from(flag.cast_unsigned());
                    assert_eq!(answer(false, abi, number, arguments), traced(abi), "{call:?} {flag:#o}");
                }
            }
        }
    }

    #[test]
    fn file_rules_make_all_files_stop() {
        let flags = u64::from((libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC).cast_unsigned());
        assert_eq!(answer(true, Abi::X86_64, 257, [0, 0, flags, 0, 0, 0]), traced(Abi::X86_64));
        assert_eq!(answer(false, Abi::X86_64, 257, [0, 0, flags, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn a_clone_stops_only_where_it_asks_not_to_be_traced() {
        for (abi, number) in [(Abi::X86_64, 56), (Abi::I386, 120)] {
            assert_eq!(answer(false, abi, number, [0x0080_0011, 0, 0, 0, 0, 0]), traced(abi));
            assert_eq!(answer(false, abi, number, [0x003d_0f00, u64::MAX, 0, 0, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn other_architectures_pass() {
        let data = Data { number: 257, arch: 0xC000_00B7, behind: 0, arguments: [0; 6] };
        assert_eq!(run(&program(Selection { all_files: false, stubs: true }), &data), ALLOW);
    }

    #[test]
    fn only_our_own_data_names_an_abi() {
        for abi in ABIS {
            assert_eq!(abi_of_stop(u64::from(stop_data(abi))), Some(abi));
        }
        assert_eq!(abi_of_stop(0), None);
        assert_eq!(abi_of_stop(u64::from(OUR_DATA)), None);
    }
}

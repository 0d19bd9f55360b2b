//! Where a task has an instruction that makes a call, for one that is not in a call: in its vdso, which every
//! process has and none changes.

use crate::arch::Abi;
use crate::ptrace::{Memory, Stopped};
use std::fs;

/// `AT_SYSINFO_EHDR` (linux/auxvec.h): where the vdso is.
const AT_SYSINFO_EHDR: u64 = 33;
const PAGE_BYTES: usize = 4096;
/// A vdso is two or three pages long.
const PAGES: u64 = 4;

/// None where there is no vdso, or /proc doesn't say (a program of another user's, without privilege).
pub fn find(memory: &Memory, stopped: &Stopped, abi: Abi) -> Option<u64> {
    let auxv = fs::read(format!("{}/auxv", stopped.tid())).ok()?;
    let vdso = value(&auxv, abi.register_bytes(), AT_SYSINFO_EHDR)?;
    let wanted = abi.syscall_instruction();
    (0..PAGES).map(|page| vdso + page * PAGE_BYTES as u64).find_map(|address| {
        let mut bytes = [0; PAGE_BYTES];
        memory.read(stopped, address, &mut bytes).ok()?;
        let offset = bytes.windows(wanted.len()).position(|window| window == wanted)?;
        Some(address + offset as u64)
    })
}

/// The value of a key in an auxiliary vector: pairs of words of `width` bytes.
pub(crate) fn value(auxv: &[u8], width: usize, key: u64) -> Option<u64> {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    };
    let mut pairs = auxv.chunks_exact(2 * width).map(|pair| (word(&pair[..width]), word(&pair[width..])));
    pairs.find(|(found, _)| *found == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_both_widths() {
        let wide: Vec<u8> =
            [6u64, 4096, 33, 0x7000_1000, 0, 0].iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(value(&wide, 8, 33), Some(0x7000_1000));
        assert_eq!(value(&wide, 8, 34), None);
        let narrow: Vec<u8> =
            [6u32, 4096, 33, 0xF7F0_0000, 0, 0].iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(value(&narrow, 4, 33), Some(0xF7F0_0000));
        assert_eq!(value(&narrow[..17], 4, 0), None);
    }
}

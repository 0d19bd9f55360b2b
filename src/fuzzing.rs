//! What must hold for every byte that comes from a traced task or from a file: one function per fuzz target
//! (fuzz/fuzz_targets), fed by `cargo xtask fuzz`. The test at the end feeds them what past runs found worth
//! keeping (fuzz/corpus). The expectations are written anew from the formats, not by calling what they check.

pub mod calls;
pub mod code;
pub mod tables;
pub mod texts;

use crate::arch::Registers;
use libc::user_regs_struct;

/// A target's name, as in fuzz/fuzz_targets and fuzz/corpus, and what it checks of any input.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("auxv", calls::auxv),
    ("elf", texts::elf),
    ("filter", calls::filter),
    ("mapping", texts::mapping),
    ("memory_words", calls::memory_words),
    ("mount_table", tables::mount_table),
    ("path", texts::path),
    ("profile", texts::profile),
    ("registers", calls::registers),
    ("script", texts::script),
    ("site", code::site),
    ("statfs", tables::statfs),
    ("statmount", tables::statmount),
    ("stub_page", code::stub_page),
    ("syscall_info", calls::syscall_info),
    ("task_status", texts::task_status),
    ("wait_status", calls::wait_status),
];

/// Takes fixed-size pieces off the front of an input; what is missing is zero.
struct Pieces<'a>(&'a [u8]);

impl Pieces<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut piece = [0; N];
        let length = N.min(self.0.len());
        piece[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        piece
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn registers(&mut self) -> Registers {
        const BYTES: usize = size_of::<user_regs_struct>();
        // SAFETY: integers only, for which all bytes are values, and the same size.
        Registers(unsafe { std::mem::transmute::<[u8; BYTES], user_regs_struct>(self.take()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        entries
            .map(|entry| PathBuf::from(entry.unwrap().file_name()).file_stem().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn every_target_has_its_program_and_inputs() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&fuzz.join("fuzz_targets")), targets);
        assert_eq!(names(&fuzz.join("corpus")), targets);
    }

    #[test]
    fn the_inputs_that_were_kept_hold() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, check) in TARGETS {
            let mut inputs = 0;
            for entry in fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")) {
                let path = entry.unwrap().path();
                let input = fs::read(&path).unwrap();
                let held = std::panic::catch_unwind(|| check(&input));
                assert!(held.is_ok(), "{} does not hold; what failed is above", path.display());
                inputs += 1;
            }
            assert!(inputs > 0, "{name} has no inputs");
        }
    }
}

//! Opens that nobody wants to see, made without a stop.
//!
//! A site (an instruction that makes a call) that has stopped several times for nothing is patched, where that can be
//! proven safe: it jumps to a stub in a page of the tracer's, which makes the open at an address that the filter lets
//! pass, and stops only for paths whose last component may matter. The names are those that the handlers look for.
//!
//! All that is known of a process's patches is in its own memory, in the page: so fork, vfork, exec and threads need
//! no bookkeeping. A signal finds the task where it would be natively: at its site, or behind it; only between an open
//! that matters and the word of it, in the stub.
//!
//! - `page`: the stubs, as bytes; `site`: what may be patched, from bytes.
//! - `patch`: patching; `sharing`: who else executes that code; `natively`: what a task in a stub looks like to everybody else.

mod natively;
pub(crate) mod page;
mod patch;
mod sharing;
pub(crate) mod site;

pub use natively::{has_trapped, restore};
pub use page::{ANY_BLOCK, BASES, PASSING};
pub use patch::{close, handle};

use crate::arch::Registers;
use crate::handlers::open;
use crate::rules::Rules;
use page::{Interests, Page};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;

/// Stops for nothing at one site before it is patched. Patching costs about as much as ten stops.
pub const DEFAULT_PATIENCE: u8 = 8;
/// Sites of one task that are watched at a time.
const WATCHED: usize = 4;
/// Addresses remembered for threads that were about to execute what was being patched.
const REMEMBERED: usize = 10_000;

/// How many sites of all processes were patched, and how many stay trapped since they can't be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Sites {
    pub patched: u64,
    pub left: u64,
}

/// The tracer's part of it, for all processes.
#[derive(Debug)]
pub struct FastPath {
    pages: Vec<Page>,
    patience: u8,
    /// Where a breakpoint has stood for a moment.
    written: RefCell<HashSet<u64>>,
    patched: Cell<u64>,
    left: Cell<u64>,
}

impl FastPath {
    /// A site is patched at its stop number `patience`, counted from 1. None on a processor that has no stubs.
    pub fn new(rules: &Rules, patience: u8) -> Option<FastPath> {
        let interests = Interests {
            names: open::names(rules),
            failures: !rules.profile.files.is_empty(),
            ignored_flags: crate::seccomp::ignored_flags(rules.profile.takes_writes()),
        };
        let pages = BASES.iter().filter_map(|base| Page::new(*base, interests.clone())).collect();
        Some(FastPath {
            pages,
            patience: patience.max(1),
            written: RefCell::default(),
            patched: Cell::new(0),
            left: Cell::new(0),
        })
    }

    pub fn counts(&self) -> Sites {
        Sites { patched: self.patched.get(), left: self.left.get() }
    }

    /// Whether a task behind a call at this address tells of an open that it has made.
    pub fn tells(&self, behind_call: u64) -> bool {
        self.pages.iter().any(|page| page.tells(behind_call))
    }

    fn remember(&self, address: u64) {
        let mut written = self.written.borrow_mut();
        if written.len() >= REMEMBERED {
            written.clear();
        }
        written.insert(address);
    }
}

/// What the open returned that a task tells of. The kernel itself cuts the number to 32 bits where it shows it.
pub fn told(registers: &Registers) -> i64 {
    registers.number().cast_signed() >> 32
}

/// How often a task's sites have stopped for nothing.
#[derive(Debug, Default)]
pub struct Futile {
    sites: [(u64, u8); WATCHED],
    oldest: usize,
}

impl Futile {
    /// Counts a stop behind the call of a site; true when the site has to be patched now, which is once.
    pub fn count(&mut self, fast_path: &FastPath, behind_call: u64) -> bool {
        let known = self.sites.iter().position(|(site, _)| *site == behind_call);
        let index = known.unwrap_or_else(|| {
            self.oldest = (self.oldest + 1) % WATCHED;
            self.sites[self.oldest] = (behind_call, 0);
            self.oldest
        });
        let count = &mut self.sites[index].1;
        *count = count.saturating_add(1);
        *count == fast_path.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_patched_once_and_others_do_not_count() {
        let fast_path = FastPath::new(&Rules::default(), 3).unwrap();
        let mut futile = Futile::default();
        let answers: Vec<bool> =
            [1, 2, 1, 3, 1, 1, 2, 2, 2].iter().map(|site| futile.count(&fast_path, *site)).collect();
        assert_eq!(answers, [false, false, false, false, true, false, false, true, false]);
        let mut wide = Futile::default();
        assert!((0..100).all(|site| !wide.count(&fast_path, site % 10)));
    }

    #[test]
    fn both_pages_have_room_with_the_largest_profile() {
        let rules = Rules { profile: crate::rules::Profile::gvisor(), ..Rules::default() };
        assert_eq!(FastPath::new(&rules, 1).unwrap().pages.len(), 2);
    }
}

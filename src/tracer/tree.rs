//! What is the same for all tasks of a tree.

use crate::ptrace::{Options, Tid};
use crate::status::Status;

/// How a tree is traced, and what it began with.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    /// What its tasks were seized with.
    pub options: Options,
    /// Whether its tasks have our filter.
    pub filtered: bool,
    /// Filters of the launcher's process when the command began, ours included.
    filters_at_start: Option<u32>,
}

impl Tree {
    /// For the tree that begins with `leader`, whose filter is installed.
    pub fn new(leader: Tid, options: Options, filtered: bool) -> Self {
        Tree { options, filtered, filters_at_start: count_filters(leader) }
    }

    /// Whether a task may have filters that came with a program. Linux counts them since 5.9; where they
    /// aren't counted (before, gVisor), the answer is no.
    pub fn has_foreign_filter(&self, tid: Tid) -> bool {
        has_more(self.filters_at_start, count_filters(tid))
    }
}

/// Where the kernel counts, a count that can't be had now says nothing: there may be more.
fn has_more(then: Option<u32>, now: Option<u32>) -> bool {
    then.is_some_and(|then| now.is_none_or(|now| now > then))
}

fn count_filters(tid: Tid) -> Option<u32> {
    Status::of(tid)?.number("Seccomp_filters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_be_had_may_be_any() {
        assert!(has_more(Some(1), Some(2)) && has_more(Some(1), None));
        assert!(!has_more(Some(1), Some(1)) && !has_more(None, None) && !has_more(None, Some(1)));
    }
}

//! The same inside gVisor.

use crate::common::Case;

pub fn cases() -> Vec<Case> {
    Vec::new()
}

//! Whether a task's memory can be read without waiting for somebody: a page that is not there may have to come from a
//! FUSE server or from the reader of a userfaultfd, who may be tasks of this tracer.

use super::Tid;
use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGE_BYTES: u64 = 4096;
/// An entry of /proc/TID/pagemap (Documentation/admin-guide/mm/pagemap.rst): present, or swapped out.
const ENTRY_BYTES: usize = 8;
const THERE: u64 = 0b11 << 62;

/// True where the kernel doesn't say.
pub fn is_there(tid: Tid, address: u64, len: usize) -> bool {
    let Ok(map) = File::open(format!("{tid}/pagemap")) else { return true };
    let last = address.saturating_add(len.saturating_sub(1) as u64) / PAGE_BYTES;
    (address / PAGE_BYTES..=last).all(|page| {
        let mut entry = [0; ENTRY_BYTES];
        // An address that no task can have is at no place of that file: reading it fails at once, as it must.
        let offset = page.saturating_mul(ENTRY_BYTES as u64);
        map.read_exact_at(&mut entry, offset).is_err() || u64::from_ne_bytes(entry) & THERE != 0
    })
}

//! Code of a task, and what stands in a page of stubs that the task may have written itself.

#![allow(clippy::unwrap_used)] // a target that panics has found something

use super::Pieces;
use crate::arch::Call;
use crate::fast_path::BASES;
use crate::fast_path::page::{HEADER_BYTES, Interests, Page, STUB_BYTES};
use crate::fast_path::site::{Patchable, REACH, Via, recognise};
use std::sync::LazyLock;

/// What is patched is a call that has just been made, and room that nobody executes; a jump leads there.
pub fn site(input: &[u8]) {
    let mut pieces = Pieces(input);
    let [kind, split] = pieces.take();
    let mut registers = pieces.registers();
    // Where kernels put no code, sums would wrap.
    registers.0.rip = (registers.0.rip % (1 << 46)) + (1 << 20);
    let call = [Call::Open, Call::Openat, Call::Openat2][usize::from(kind % 3)];
    let (before, after) = pieces.0.split_at(usize::from(split).min(pieces.0.len()).min(REACH));
    let after = &after[..after.len().min(REACH)];
    let Some(found) = recognise(&registers, call, before, after) else { return };
    assert!(before.ends_with(&[0x0F, 0x05]) && call != Call::Openat2);
    assert_eq!(found.site.continuation, registers.0.rip);
    match found.padding {
        None => in_front(&found, before),
        Some(padding) => beside(&found, padding, before, after),
    }
}

fn in_front(found: &Patchable, before: &[u8]) {
    let moved = found.site.moved.unwrap();
    assert_eq!(found.site.start, found.site.continuation - 7);
    assert!(before[..before.len() - 2].ends_with(&moved));
    assert!(matches!(moved[0], 0xB8 | 0xBA | 0xBE | 0xBF));
    let near = found.site.start - 0x1000;
    let bytes = found.bytes(Via::Near(near)).unwrap();
    let displacement = i32::from_le_bytes(bytes[1..].try_into().unwrap());
    assert_eq!((bytes[0], bytes.len()), (0xE9, 5));
    assert_eq!(found.site.start.wrapping_add_signed(i64::from(displacement) + 5), near);
    assert_eq!(found.bytes(Via::Slot(BASES[0])).map(|bytes| bytes.len()), Some(5));
    assert_eq!(found.bytes(Via::Slot(BASES[1])), None);
}

fn beside(found: &Patchable, padding: u64, before: &[u8], after: &[u8]) {
    assert_eq!((found.site.start, found.site.moved), (found.site.continuation - 2, None));
    let bytes = found.bytes(Via::Slot(BASES[1])).unwrap();
    let displacement = i64::from(bytes[1].cast_signed());
    assert_eq!((bytes[0], bytes.len()), (0xEB, 2));
    assert_eq!(found.site.continuation.wrapping_add_signed(displacement), padding);
    let room = if displacement >= 0 {
        &after[usize::try_from(displacement).unwrap()..]
    } else {
        &before[before.len() - usize::try_from(-displacement).unwrap()..]
    };
    assert_eq!(room[..7], [0xCC; 7]);
}

/// A page that the task has written to misleads the task alone: nothing here panics, and no place is made up.
pub fn stub_page(input: &[u8]) {
    static PAGE: LazyLock<Page> = LazyLock::new(|| {
        let names = vec![b"mounts".to_vec(), b"x".to_vec(), b"a long name".to_vec()];
        Page::new(BASES[0], Interests { names, failures: true, ignored_flags: 1 }).unwrap()
    });
    let mut pieces = Pieces(input);
    let near = pieces.word() % 0x1100;
    let mut registers = pieces.registers();
    registers.0.rip = u64::from(BASES[0]) + u64::from(near);
    let place = PAGE.place(&registers);
    assert_eq!(place.is_some(), near < 0x1000);
    let told = PAGE.tells(registers.0.rip);
    assert!(!told || near < 0x1000);
    let header: [u8; HEADER_BYTES] = pieces.take();
    assert_eq!(Page::header(header).is_some(), header.starts_with(b"fsmasq\x01\n"));
    let stub: [u8; STUB_BYTES] = pieces.take();
    assert!(matches!(Page::site(&stub).call, Call::Open | Call::Openat));
}

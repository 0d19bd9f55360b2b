//! Which instructions that make calls may be patched, told by the bytes around them: pure. What can't be proven
//! stays as it is.

use super::page::{Entry, Site};
use crate::arch::{Abi, Call, low32};

/// As far as a short jump reaches.
pub const REACH: usize = 128;

/// `syscall`.
const SYSCALL: [u8; 2] = [0x0F, 0x05];
/// `jmp *address`, with an absolute address of 32 bits behind it.
const JUMP_THROUGH: [u8; 3] = [0xFF, 0x24, 0x25];
/// That jump's length.
const JUMP_BYTES: usize = 7;
const INT3: u8 = 0xCC;

/// A site, and what is to be written to patch it, in this order.
#[derive(Debug, PartialEq, Eq)]
pub struct Patchable {
    pub site: Site,
    /// Room that nobody executes, which gets the jump to the stub.
    pub padding: Option<u64>,
}

impl Patchable {
    /// What goes to the padding, for a stub whose address is in memory at `slot`.
    pub fn far_jump(slot: u32) -> Vec<u8> {
        [&JUMP_THROUGH[..], &slot.to_le_bytes()].concat()
    }

    /// What goes to the start of the site.
    pub fn bytes(&self, slot: u32) -> Vec<u8> {
        match self.padding {
            // The slot's address ends in the bytes of the instruction that stays.
            None => Patchable::far_jump(slot)[..JUMP_BYTES - SYSCALL.len()].to_vec(),
            Some(padding) => {
                let displacement = padding.wrapping_sub(self.site.start + 2);
                vec![0xEB, displacement.to_le_bytes()[0]]
            }
        }
    }

    /// Whether a slot can be named by what stands at the site.
    pub fn fits(&self, slot: u32) -> bool {
        self.padding.is_some() || slot.to_le_bytes()[2..] == SYSCALL
    }
}

/// Looks at the site of an open that has just been made, with this in r8. `before` ends, and `after` begins, at
/// `continuation`, behind the call.
pub fn recognise(continuation: u64, r8: u64, call: Call, before: &[u8], after: &[u8]) -> Option<Patchable> {
    let number = call.number(Abi::X86_64)?;
    if !matches!(call, Call::Open | Call::Openat) || !before.ends_with(&SYSCALL) {
        return None;
    }
    let site = |bytes: u64, entry| Site { start: continuation - bytes, continuation, call, entry };
    let mov = [&[0xB8][..], &number.to_le_bytes(), &SYSCALL].concat();
    if before.ends_with(&mov) {
        // With this prefix it is a `mov` to r8.
        let prefix = before.len().checked_sub(mov.len() + 1).map(|at| before[at]);
        let is_r8 = prefix.is_some_and(|byte| byte & 0xF1 == 0x41) && low32(r8) == number;
        return (!is_r8).then(|| Patchable { site: site(7, Entry::InsteadOfMov), padding: None });
    }
    let padding = padding(before, after)?;
    let address = continuation.wrapping_add_signed(padding);
    Some(Patchable { site: site(2, Entry::InsteadOfCall), padding: Some(address) })
}

/// Where a short jump at the site finds room for a long one, from behind the call: between functions, where
/// compilers that mean nobody to come there put `int3`.
fn padding(before: &[u8], after: &[u8]) -> Option<i64> {
    let run = |bytes: &[u8]| bytes.windows(JUMP_BYTES).position(|window| window == [INT3; JUMP_BYTES]);
    if let Some(at) = run(&after[..after.len().min(REACH - 1)]) {
        return i64::try_from(at).ok();
    }
    // The jump is two bytes long, as is what it replaces, so it reaches from behind the call.
    let reachable = &before[before.len().saturating_sub(REACH)..];
    let last = reachable.windows(JUMP_BYTES).rposition(|window| window == [INT3; JUMP_BYTES])?;
    i64::try_from(last).ok()?.checked_sub(i64::try_from(reachable.len()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOV: [u8; 7] = [0xB8, 1, 1, 0, 0, 0x0F, 0x05];
    const BARE: [u8; 5] = [0x48, 0x89, 0xDF, 0x0F, 0x05];

    #[test]
    fn a_mov_in_front_of_the_call_is_replaced() {
        let found = recognise(0x1000, 0, Call::Openat, &MOV, &[]);
        let site =
            Site { start: 0xFF9, continuation: 0x1000, call: Call::Openat, entry: Entry::InsteadOfMov };
        assert_eq!(found, Some(Patchable { site, padding: None }));
        let found = found.unwrap_or_else(|| unreachable!());
        assert_eq!(found.bytes(0x050F_0088), [0xFF, 0x24, 0x25, 0x88, 0x00]);
        assert!(found.fits(0x050F_0088) && !found.fits(0x0018_0088));
    }

    #[test]
    fn another_number_or_register_or_call_stays() {
        assert_eq!(recognise(0x1000, 0, Call::Open, &MOV, &[]), None);
        assert_eq!(recognise(0x1000, 0, Call::Openat2, &MOV, &[]), None);
        assert_eq!(recognise(0x1000, 257, Call::Openat, &[&[0x41][..], &MOV].concat(), &[]), None);
        assert!(recognise(0x1000, 7, Call::Openat, &[&[0x41][..], &MOV].concat(), &[]).is_some());
        assert_eq!(recognise(0x1000, 0, Call::Openat, &[&MOV[..5], &[0xCD, 0x80]].concat(), &[]), None);
    }

    #[test]
    fn a_bare_call_is_replaced_where_padding_is_near() {
        let padded = |gap: usize, run: usize| [vec![0x90; gap], vec![INT3; run], vec![0x90; 3]].concat();
        let found = |before: &[u8], after: &[u8]| {
            let before = [before, &BARE].concat();
            recognise(0x1000, 0, Call::Openat, &before, after)?.padding
        };
        assert_eq!(found(&[], &padded(10, 7)), Some(0x100A));
        assert_eq!(found(&[], &padded(10, 6)), None);
        assert_eq!(found(&[], &padded(120, 7)), Some(0x1078));
        assert_eq!(found(&[], &padded(121, 7)), None);
        assert_eq!(found(&padded(4, 9), &[]), Some(0x1000 - 3 - 5 - 7));
        assert_eq!(found(&[INT3; 7], &vec![0x90; 200]), Some(0x1000 - 5 - 7));
        assert_eq!(found(&[&[INT3; 7][..], &[0x90; 117]].concat(), &[]), None);
        assert_eq!(found(&[&[INT3; 7][..], &[0x90; 116]].concat(), &[]), Some(0x1000 - 128));
        let far = recognise(0x1000, 0, Call::Openat, &BARE, &padded(10, 7)).map(|p| p.bytes(0));
        assert_eq!(far, Some(vec![0xEB, 10]));
    }
}

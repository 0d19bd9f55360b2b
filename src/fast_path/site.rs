//! Which instructions that make calls may be patched, told by the bytes around them: pure. What can't be proven
//! stays as it is.

use super::page::Site;
use crate::arch::{Abi, Call, INT3, Registers, low32};

/// As far as a short jump reaches.
pub const REACH: usize = 128;

/// `syscall`.
const SYSCALL: [u8; 2] = [0x0F, 0x05];
/// `jmp *address`, with an absolute address of 32 bits behind it.
const JUMP_THROUGH: [u8; 3] = [0xFF, 0x24, 0x25];
/// That jump's length.
const JUMP_BYTES: usize = 7;
/// `jmp`, with a displacement of 32 bits behind it.
const JUMP_NEAR: u8 = 0xE9;
/// `mov $immediate, %register`, and `jmp` with 32 bits, have this length.
const MOV_BYTES: usize = 5;

/// A site, and what it takes to patch it.
#[derive(Debug, PartialEq, Eq)]
pub struct Patchable {
    pub site: Site,
    /// Room that nobody executes, which gets the jump to the stub; None where an instruction in front of the call
    /// makes room.
    pub padding: Option<u64>,
}

/// How a patched site gets to its stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Through memory at a low address.
    Slot(u32),
    /// By a jump to a near page.
    Near(u64),
}

impl Patchable {
    /// What goes to the start of the site; None where that can't get there.
    pub fn bytes(&self, via: Via) -> Option<Vec<u8>> {
        match (self.padding, via) {
            (Some(padding), Via::Slot(_)) => {
                let displacement = padding.wrapping_sub(self.site.start + 2);
                Some(vec![0xEB, displacement.to_le_bytes()[0]])
            }
            // The slot's address ends in the bytes of the instruction that stays.
            (None, Via::Slot(slot)) => {
                self.fits(slot).then(|| [&JUMP_THROUGH[..], &slot.to_le_bytes()[..2]].concat())
            }
            (None, Via::Near(target)) => {
                let from = self.site.start + MOV_BYTES as u64;
                let displacement = i32::try_from(target.wrapping_sub(from).cast_signed()).ok()?;
                Some([&[JUMP_NEAR][..], &displacement.to_le_bytes()].concat())
            }
            (Some(_), Via::Near(_)) => None,
        }
    }

    /// Whether a slot can be named by what stands at the site.
    pub fn fits(&self, slot: u32) -> bool {
        self.padding.is_some() || slot.to_le_bytes()[2..] == SYSCALL
    }
}

/// Looks at the site of an open that has just been made, by a task with these registers. `before` ends, and `after`
/// begins, behind the call.
pub fn recognise(registers: &Registers, call: Call, before: &[u8], after: &[u8]) -> Option<Patchable> {
    let continuation = registers.instruction();
    if !matches!(call, Call::Open | Call::Openat) {
        return None;
    }
    let code = before.strip_suffix(&SYSCALL)?;
    let site = |bytes: usize, moved| Site { start: continuation - bytes as u64, continuation, call, moved };
    if let Some((rest, mov)) = code.split_last_chunk::<MOV_BYTES>()
        && sets_what_it_says(registers, call, rest.last().copied(), *mov)
    {
        return Some(Patchable { site: site(MOV_BYTES + SYSCALL.len(), Some(*mov)), padding: None });
    }
    // One that is patched already, and made a call all the same: one that was made again, or had begun before.
    let patched = code.last_chunk::<MOV_BYTES>();
    if patched.is_some_and(|bytes| bytes.starts_with(&JUMP_THROUGH) || bytes[0] == JUMP_NEAR) {
        return None;
    }
    let padding = continuation.wrapping_add_signed(padding(before, after)?);
    Some(Patchable { site: site(SYSCALL.len(), None), padding: Some(padding) })
}

/// Whether these bytes are an instruction that has just been executed: the number, or an argument, is what it loads.
fn sets_what_it_says(registers: &Registers, call: Call, prefix: Option<u8>, mov: [u8; MOV_BYTES]) -> bool {
    let [opcode, immediate @ ..] = mov;
    let value = u64::from(u32::from_le_bytes(immediate));
    let r = &registers.0;
    let (loaded, with_prefix) = match opcode {
        0xB8 => (call.number(Abi::X86_64).map(u64::from), r.r8),
        0xBA => (Some(r.rdx), r.r10),
        0xBE => (Some(r.rsi), r.r14),
        0xBF => (Some(r.rdi), r.r15),
        _ => return false,
    };
    // With a prefix of this kind it would load another register.
    let may_be_another =
        prefix.is_some_and(|byte| byte & 0xF1 == 0x41) && u64::from(low32(with_prefix)) == value;
    loaded == Some(value) && !may_be_another
}

/// Where a short jump at the site finds room for a long one, from behind the call: between functions, where
/// compilers that mean nobody to come there put `int3`.
fn padding(before: &[u8], after: &[u8]) -> Option<i64> {
    let is_room = |window: &[u8]| window == [INT3; JUMP_BYTES];
    if let Some(at) = after[..after.len().min(REACH - 1)].windows(JUMP_BYTES).position(is_room) {
        return i64::try_from(at).ok();
    }
    // The jump is two bytes long, as is what it replaces, so it reaches from behind the call.
    let reachable = &before[before.len().saturating_sub(REACH)..];
    let last = reachable.windows(JUMP_BYTES).rposition(is_room)?;
    i64::try_from(last).ok()?.checked_sub(i64::try_from(reachable.len()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Registers {
        // SAFETY: plain integers, for which all zeroes is a value.
        let mut registers = Registers(unsafe { std::mem::zeroed() });
        (registers.0.rip, registers.0.rdi) = (0x1000, 0xFFFF_FF9C);
        registers
    }

    const MOV: [u8; 7] = [0xB8, 1, 1, 0, 0, 0x0F, 0x05];
    const MOV_FOLDER: [u8; 7] = [0xBF, 0x9C, 0xFF, 0xFF, 0xFF, 0x0F, 0x05];
    const BARE: [u8; 5] = [0x48, 0x89, 0xDF, 0x0F, 0x05];

    #[test]
    fn a_mov_in_front_of_the_call_is_replaced() {
        for mov in [MOV, MOV_FOLDER] {
            let found = recognise(&registers(), Call::Openat, &mov, &[]);
            let moved = mov[..5].try_into().ok();
            let site = Site { start: 0xFF9, continuation: 0x1000, call: Call::Openat, moved };
            assert_eq!(found, Some(Patchable { site, padding: None }));
            let bytes = |via| found.as_ref().and_then(|found| found.bytes(via));
            assert_eq!(bytes(Via::Slot(0x050F_0088)), Some(vec![0xFF, 0x24, 0x25, 0x88, 0x00]));
            assert_eq!(bytes(Via::Slot(0x0018_0088)), None);
            assert_eq!(bytes(Via::Near(0xFFE - 0x100)), Some(vec![0xE9, 0, 0xFF, 0xFF, 0xFF]));
            assert_eq!(bytes(Via::Near(0x7FFF_0000_0000)), None);
        }
    }

    #[test]
    fn what_was_not_loaded_or_another_call_stays() {
        let found = |registers: &Registers, call, before: &[u8]| recognise(registers, call, before, &[]);
        assert_eq!(found(&registers(), Call::Open, &MOV), None);
        assert_eq!(found(&registers(), Call::Openat2, &MOV), None);
        assert_eq!(found(&registers(), Call::Openat, &[&MOV[..5], &[0xCD, 0x80]].concat()), None);
        let mut other = registers();
        (other.0.r8, other.0.rdi) = (257, 3);
        assert_eq!(found(&other, Call::Openat, &[&[0x41][..], &MOV].concat()), None);
        assert_eq!(found(&other, Call::Openat, &MOV_FOLDER), None);
        assert!(found(&registers(), Call::Openat, &[&[0x41][..], &MOV].concat()).is_some());
        assert_eq!(found(&registers(), Call::Openat, &[0xB9, 1, 1, 0, 0, 0x0F, 0x05]), None);
    }

    #[test]
    fn a_bare_call_is_replaced_where_padding_is_near() {
        let padded = |gap: usize, run: usize| [vec![0x90; gap], vec![INT3; run], vec![0x90; 3]].concat();
        let found = |before: &[u8], after: &[u8]| {
            let before = [before, &BARE].concat();
            recognise(&registers(), Call::Openat, &before, after)?.padding
        };
        assert_eq!(found(&[], &padded(10, 7)), Some(0x100A));
        for patched in [[0xFF, 0x24, 0x25, 0, 1, 0x0F, 0x05], [0xE9, 1, 2, 3, 4, 0x0F, 0x05]] {
            assert_eq!(recognise(&registers(), Call::Openat, &patched, &padded(10, 7)), None);
        }
        assert_eq!(found(&[], &padded(10, 6)), None);
        assert_eq!(found(&[], &padded(120, 7)), Some(0x1078));
        assert_eq!(found(&[], &padded(121, 7)), None);
        assert_eq!(found(&padded(4, 9), &[]), Some(0x1000 - 3 - 5 - 7));
        assert_eq!(found(&[INT3; 7], &[0x90; 200]), Some(0x1000 - 5 - 7));
        assert_eq!(found(&[&[INT3; 7][..], &[0x90; 117]].concat(), &[]), None);
        assert_eq!(found(&[&[INT3; 7][..], &[0x90; 116]].concat(), &[]), Some(0x1000 - 128));
        let jump = recognise(&registers(), Call::Openat, &BARE, &padded(10, 7));
        assert_eq!(jump.and_then(|found| found.bytes(Via::Slot(0))), Some(vec![0xEB, 10]));
    }
}

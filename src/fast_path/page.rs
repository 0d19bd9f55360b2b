//! The page of stubs that a process gets: pure, bytes only.
//!
//! A stub makes its site's open itself, at an address whose opens the filter lets pass, and goes back, unless the
//! path's last component is one that somebody may want to see. Then it makes one more call, at another address, which
//! stops: the tracer finds the arguments in their registers, and in the upper half of the call's number, which the
//! kernel does not look at, what the open returned.
//!
//! Only rcx and r11 are free, which every call overwrites; there is no stack, and no lock. The kernel has read the path
//! before the stub does, so a bad pointer is EFAULT as ever.

use crate::arch::{Call, Registers};

/// Where pages are, if the place is free. A site that is patched by what stands in front of its call can jump through
/// the first (the address ends in the bytes of the `syscall` instruction), and needs a near page to reach the second;
/// but programs larger than 80 MB at a fixed address lie on the first.
pub const BASES: [u32; 2] = [0x050F_0000, 0x0018_0000];
pub const PAGE_BYTES: usize = 4096;
/// In all bits of an address but these, a call that may pass is where `PASSING` says, in one of the pages.
pub const ANY_BLOCK: u32 = 0xF80;
/// Behind the call of a stub that the filter lets pass, in its block.
pub const PASSING: u32 = 0x12;

/// Sites of one process.
pub const SITES: usize = 16;

const BLOCK: usize = 0x80;
const MAGIC: [u8; 8] = *b"fsmasq\x01\n";
const USED: usize = 8;
const NEAR: usize = 16;
/// Of the header, as far as there is something in it.
pub const HEADER_BYTES: usize = 24;
const SLOTS: usize = BLOCK;
/// Jumps through the slots, for what reaches the page directly.
const JUMPS: usize = 2 * BLOCK;
const TEST: usize = 3 * BLOCK;

/// Offsets in a stub's block, each that of an instruction.
mod stub {
    pub const CALL: usize = 0x10;
    pub const SHIFTED: usize = 0x26;
    pub const PACKED: usize = 0x2C;
    pub const TELL: usize = 0x31;
    pub const TOLD: usize = 0x41;
    pub const PLAIN: usize = 0x47;
    pub const PLAIN_END: usize = 0x49;
    /// Aligned: a program may have asked for faults where a load is not.
    pub const CONTINUATION: usize = 0x50;
    pub const START: usize = 0x58;
    pub const CALL_KIND: usize = 0x60;
    pub const CLOSED: usize = 0x64;
    pub const CLOSED_END: usize = 0x6D;
    pub const END: usize = 0x6F;
}

/// Of a stub, as far as there is something in it.
pub const STUB_BYTES: usize = stub::END;

/// A site, as its stub knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// The first byte that is overwritten.
    pub start: u64,
    /// Behind the call.
    pub continuation: u64,
    /// `Call::Open` or `Call::Openat`.
    pub call: Call,
    /// An instruction of five bytes that the stub has to execute, since it is not at the site any more.
    pub moved: Option<[u8; 5]>,
}

/// What a page's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Stubs in the page; `SITES` also where there are to be no more.
    pub used: usize,
    /// A page near the sites, with jumps to the stubs.
    pub near: Option<u64>,
}

/// What stubs have to tell apart.
#[derive(Debug, Clone)]
pub struct Interests {
    /// Last components of paths that matter.
    pub names: Vec<Vec<u8>>,
    /// Whether opens that fail matter.
    pub failures: bool,
    /// Opens with one of these flags never matter.
    pub ignored_flags: u32,
}

/// A page at one of the bases: what it begins with, and where its stubs are.
#[derive(Debug)]
pub struct Page {
    pub base: u32,
    interests: Interests,
    shared: Vec<u8>,
    /// Of the shared code, as offsets in the page.
    path_read: usize,
    result_restored: usize,
    first_stub: usize,
}

/// What an address in a page means for a task that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing has happened yet.
    Before { stub: usize },
    /// The open is through; what it returned has not been judged.
    Opened { stub: usize, result: i64 },
    /// The open is through, and about to be told.
    Telling { stub: usize, result: i64 },
    /// There is nothing to be said.
    Other,
    /// The call is through, and judged.
    Done { stub: usize },
}

impl Page {
    /// None where the names take too much room.
    pub fn new(base: u32, interests: Interests) -> Option<Page> {
        let mut page = Page {
            base,
            interests,
            shared: Vec::new(),
            path_read: 0,
            result_restored: 0,
            first_stub: usize::MAX,
        };
        page.assemble();
        page.first_stub = (TEST + page.shared.len()).div_ceil(BLOCK);
        (page.first_stub + SITES <= PAGE_BYTES / BLOCK).then_some(page)
    }

    /// The whole page, without stubs.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; PAGE_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        for index in 0..SITES {
            let at = JUMPS + 8 * index;
            bytes[at..at + 7].copy_from_slice(&self.jump(index));
        }
        bytes[TEST..TEST + self.shared.len()].copy_from_slice(&self.shared);
        bytes
    }

    /// None where the page is not one of ours.
    pub fn header(bytes: [u8; HEADER_BYTES]) -> Option<Header> {
        let near = bytes[NEAR..].try_into().map_or(0, u64::from_le_bytes);
        let header = Header { used: usize::from(bytes[USED]), near: Some(near).filter(|near| *near != 0) };
        (bytes[..MAGIC.len()] == MAGIC).then_some(header)
    }

    pub fn near_address(&self) -> u64 {
        u64::from(self.base) + NEAR as u64
    }

    /// `jmp *slot`, to stub `index`.
    pub fn jump(&self, index: usize) -> [u8; 7] {
        let [a, b, c, d] = self.slot(index).to_le_bytes();
        [0xFF, 0x24, 0x25, a, b, c, d]
    }

    /// Where such a jump is in this page.
    pub fn jump_address(&self, index: usize) -> u64 {
        u64::from(self.at(JUMPS + 8 * index))
    }

    /// What the slot of a stub holds that nobody would answer: from there, the call is trapped as natively.
    pub fn closed_address(&self, index: usize) -> u64 {
        u64::from(self.stub_address(index)) + stub::CLOSED as u64
    }

    pub fn used_address(&self) -> u64 {
        u64::from(self.base) + USED as u64
    }

    /// Where the address of stub `index` is for a jump through memory.
    pub fn slot(&self, index: usize) -> u32 {
        self.at(SLOTS + 8 * index)
    }

    pub fn stub_address(&self, index: usize) -> u32 {
        self.at((self.first_stub + index) * BLOCK)
    }

    /// Whether a task behind a call here tells of an open.
    pub fn tells(&self, behind_call: u64) -> bool {
        self.offset(behind_call)
            .is_some_and(|offset| offset / BLOCK >= self.first_stub && offset % BLOCK == stub::TOLD)
    }

    /// The stub of a site, which is number `index`.
    pub fn stub(&self, index: usize, site: &Site) -> Vec<u8> {
        let block = (self.first_stub + index) * BLOCK;
        let number = site.call.number(crate::arch::Abi::X86_64).unwrap_or_default();
        let path_in_rdi = site.call == Call::Open;
        let mut code = Code::at(block);
        code.put(&[0xF3, 0x0F, 0x1E, 0xFA]); // endbr64
        code.put(&site.moved.unwrap_or(NOP));
        code.put(&[0x3D]).put(&number.to_le_bytes()); // cmp $number, %eax
        code.short(0x75, block + stub::PLAIN); // jne plain
        code.reach(block + stub::CALL);
        code.put(&[0x0F, 0x05]); // syscall
        code.put(&[0x48, 0x85, 0xC0]); // test %rax, %rax
        if self.interests.failures {
            code.put(&[0x66, 0x90]); // nop
        } else {
            code.short(0x78, block + stub::TOLD); // js epilogue
        }
        code.put(&[0xF7, if path_in_rdi { 0xC6 } else { 0xC2 }]); // test $flags, %esi or %edx
        code.put(&self.interests.ignored_flags.to_le_bytes());
        code.short(0x75, block + stub::TOLD); // jnz epilogue
        code.put(&[0x48, 0x89, if path_in_rdi { 0xF9 } else { 0xF1 }]); // mov %rdi or %rsi, %rcx
        code.put(&[0x48, 0xC1, 0xE0, 0x20]); // shl $32, %rax
        code.reach(block + stub::SHIFTED);
        code.put(&[0x48, 0x0D]).put(&self.at(block + stub::TOLD).to_le_bytes()); // or $epilogue, %rax
        code.reach(block + stub::PACKED);
        code.near(&[0xE9], TEST); // jmp test
        code.reach(block + stub::TELL);
        code.put(&[0x48, 0xC1, 0xE8, 0x20]); // shr $32, %rax
        code.put(&[0x48, 0xC1, 0xE0, 0x20]); // shl $32, %rax
        code.put(&[0x48, 0x0D]).put(&number.to_le_bytes()); // or $number, %rax
        code.put(&[0x0F, 0x05]); // syscall
        code.reach(block + stub::TOLD);
        let jump = code.later(&[0xFF, 0x25]); // jmp *continuation
        code.resolve(jump, block + stub::CONTINUATION);
        code.reach(block + stub::PLAIN);
        code.put(&[0x0F, 0x05]); // syscall
        code.reach(block + stub::PLAIN_END);
        code.short(0xEB, block + stub::TOLD); // jmp epilogue
        code.pad(block + stub::CONTINUATION);
        code.put(&site.continuation.to_le_bytes());
        code.reach(block + stub::START);
        code.put(&site.start.to_le_bytes());
        code.reach(block + stub::CALL_KIND);
        code.put(&[u8::from(path_in_rdi)]);
        code.pad(block + stub::CLOSED);
        code.put(&[0xF3, 0x0F, 0x1E, 0xFA]); // endbr64
        code.put(&site.moved.unwrap_or(NOP));
        code.reach(block + stub::CLOSED_END);
        code.short(0xEB, block + stub::PLAIN); // jmp plain
        code.reach(block + stub::END);
        code.bytes
    }

    /// The site that a stub's bytes are for; what was moved is not told.
    pub fn site(bytes: &[u8; STUB_BYTES]) -> Site {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        Site {
            start: word(stub::START),
            continuation: word(stub::CONTINUATION),
            call: if bytes[stub::CALL_KIND] == 1 { Call::Open } else { Call::Openat },
            moved: None,
        }
    }

    /// Where a task with these registers is; None outside of the page.
    pub fn place(&self, registers: &Registers) -> Option<Place> {
        let offset = self.offset(registers.instruction())?;
        let rax = registers.result(crate::arch::Abi::X86_64);
        // In the shared code, the address of an epilogue says which stub it is.
        let packed = |rax: i64, epilogue: u64| match self.offset(epilogue) {
            Some(epilogue) if epilogue / BLOCK >= self.first_stub => {
                Place::Opened { stub: epilogue / BLOCK - self.first_stub, result: rax }
            }
            _ => Place::Other,
        };
        if offset / BLOCK < self.first_stub {
            return Some(match offset {
                at if at == self.result_restored => packed(rax, registers.0.rcx),
                TEST.. => packed(rax >> 32, u64::from(crate::arch::low32(registers.0.rax))),
                _ => Place::Other,
            });
        }
        let stub = offset / BLOCK - self.first_stub;
        Some(match offset % BLOCK {
            0..=stub::CALL | stub::PLAIN | stub::CLOSED..=stub::CLOSED_END => Place::Before { stub },
            stub::TOLD | stub::PLAIN_END => Place::Done { stub },
            at if at < stub::SHIFTED => Place::Opened { stub, result: rax },
            at if at < stub::TELL => Place::Opened { stub, result: rax >> 32 },
            // Between the two shifts.
            at if at == stub::TELL + 4 => Place::Telling { stub, result: (rax << 32) >> 32 },
            at if at < stub::TOLD => Place::Telling { stub, result: rax >> 32 },
            _ => Place::Other,
        })
    }

    pub fn contains(&self, address: u64) -> bool {
        self.offset(address).is_some()
    }

    pub fn takes_failures(&self) -> bool {
        self.interests.failures
    }

    /// Whether opens with these flags never matter.
    pub fn ignores(&self, flags: u64) -> bool {
        crate::arch::low32(flags) & self.interests.ignored_flags != 0
    }

    /// Whether a task with these registers is about to read a byte of the path.
    pub fn reads_path(&self, registers: &Registers) -> bool {
        self.offset(registers.instruction()) == Some(self.path_read)
    }

    /// Sends a task that has opened something on to tell of it.
    pub fn tell(&self, registers: &mut Registers, stub: usize, result: i64) {
        registers.0.rax = (result << 32).cast_unsigned();
        registers.0.rip = u64::from(self.stub_address(stub)) + stub::TELL as u64;
    }

    fn at(&self, offset: usize) -> u32 {
        self.base + u32::try_from(offset).unwrap_or(0)
    }

    fn offset(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(u64::from(self.base))?).ok()?;
        (offset < PAGE_BYTES).then_some(offset)
    }

    /// The code that all stubs share: rcx is the path, rax holds the result above the epilogue's address.
    fn assemble(&mut self) {
        let mut code = Code::at(TEST);
        let mut to_miss = Vec::new();
        if self.interests.failures {
            // The kernel could not read it, or not to its end.
            code.put(&[0x49, 0x89, 0xC3]); // mov %rax, %r11
            code.put(&[0x49, 0xC1, 0xFB, 0x20]); // sar $32, %r11
            for errno in [libc::EFAULT, libc::ENAMETOOLONG] {
                code.put(&[0x41, 0x83, 0xFB, (-errno).to_le_bytes()[0]]); // cmp $-errno, %r11d
                to_miss.push(code.later(&[0x0F, 0x84])); // je miss
            }
        }
        // r11 becomes the last eight bytes, as if the path began with a slash.
        code.put(&[0x41, 0xBB, b'/', 0, 0, 0]); // mov $'/', %r11d
        let next = code.here();
        code.put(&[0x49, 0xC1, 0xE3, 0x08]); // shl $8, %r11
        self.path_read = code.here();
        code.put(&[0x44, 0x8A, 0x19]); // mov (%rcx), %r11b
        code.put(&[0x48, 0xFF, 0xC1]); // inc %rcx
        code.put(&[0x45, 0x84, 0xDB]); // test %r11b, %r11b
        code.short(0x75, next); // jnz next
        let mut to_hit = Vec::new();
        // The last component may be a number, which may be a descriptor's.
        code.put(&[0x44, 0x89, 0xD9]); // mov %r11d, %ecx
        code.put(&[0xC1, 0xE9, 0x08]); // shr $8, %ecx
        code.put(&[0x80, 0xE9, b'0']); // sub $'0', %cl
        code.put(&[0x80, 0xF9, 9]); // cmp $9, %cl
        let to_number = code.later(&[0x0F, 0x86]); // jbe number
        let mut suffixes: Vec<[u8; 8]> = Vec::new();
        let mut lengths: Vec<(usize, [u8; 8])> =
            self.interests.names.iter().map(|name| suffix(name)).collect();
        lengths.sort_unstable_by_key(|(length, bytes)| (std::cmp::Reverse(*length), *bytes));
        lengths.dedup();
        let mut compared = 8;
        let mut loads = Vec::new();
        for (length, bytes) in lengths {
            if length < compared {
                let bits = u8::try_from(8 * (compared - length)).unwrap_or(0);
                code.put(&[0x49, 0xC1, 0xE3, bits]); // shl: what is in front does not count
                compared = length;
            }
            loads.push((code.later(&[0x4C, 0x3B, 0x1D]), suffixes.len())); // cmp suffix, %r11
            suffixes.push(bytes);
            to_hit.push(code.later(&[0x0F, 0x84])); // je hit
        }
        // A miss: the result as it was, and back.
        let miss = code.here();
        code.put(&[0x89, 0xC1]); // mov %eax, %ecx
        code.put(&[0x48, 0xC1, 0xF8, 0x20]); // sar $32, %rax
        self.result_restored = code.here();
        code.put(&[0xFF, 0xE1]); // jmp *%rcx
        let number = code.here();
        if self.interests.names.iter().any(|name| name.last().is_some_and(u8::is_ascii_digit)) {
            to_hit.push(code.later(&[0xE9])); // jmp hit
        }
        let digit = code.here();
        code.put(&[0x49, 0xC1, 0xEB, 0x08]); // shr $8, %r11
        code.put(&[0x44, 0x89, 0xD9]); // mov %r11d, %ecx
        code.put(&[0x80, 0xE9, b'0']); // sub $'0', %cl
        code.put(&[0x80, 0xF9, 9]); // cmp $9, %cl
        code.short(0x76, digit); // jbe digit
        code.put(&[0x45, 0x84, 0xDB]); // test %r11b, %r11b: more digits than there is room for
        to_hit.push(code.later(&[0x0F, 0x84])); // jz hit
        code.put(&[0x41, 0x80, 0xFB, b'/']); // cmp $'/', %r11b
        to_miss.push(code.later(&[0x0F, 0x85])); // jne miss
        code.put(&[0x49, 0xC1, 0xEB, 0x08]); // shr $8, %r11
        code.put(&[0x45, 0x84, 0xDB]); // test %r11b, %r11b: nothing in front, or not known
        to_hit.push(code.later(&[0x0F, 0x84])); // jz hit
        code.put(&[0x41, 0x80, 0xFB, b'd']); // cmp $'d', %r11b: of fd
        to_miss.push(code.later(&[0x0F, 0x85])); // jne miss
        let hit = code.here();
        let back = u8::try_from(stub::TELL.wrapping_sub(stub::TOLD) & 0xFF).unwrap_or(0);
        code.put(&[0x8D, 0x48, back]); // lea tell-epilogue(%rax), %ecx
        code.put(&[0xFF, 0xE1]); // jmp *%rcx
        code.resolve(to_number, number);
        to_hit.into_iter().for_each(|jump| code.resolve(jump, hit));
        to_miss.into_iter().for_each(|jump| code.resolve(jump, miss));
        while !code.here().is_multiple_of(8) {
            code.put(&[0xCC]);
        }
        let table = code.here();
        for (load, index) in loads {
            code.resolve(load, table + 8 * index);
        }
        for suffix in suffixes {
            code.put(&suffix);
        }
        self.shared = code.bytes;
    }
}

/// Five bytes that do nothing.
const NOP: [u8; 5] = [0x0F, 0x1F, 0x44, 0, 0];

/// A name as the last bytes of a path, the first of them lowest in memory, highest in the register; and how many
/// of them count.
fn suffix(name: &[u8]) -> (usize, [u8; 8]) {
    let whole: Vec<u8> = [b"/", name, b"\0"].concat();
    let length = whole.len().min(8);
    let mut bytes = [0; 8];
    // The last byte is the register's lowest, before it is shifted to the top.
    for (place, byte) in whole[whole.len() - length..].iter().enumerate() {
        bytes[7 - place] = *byte;
    }
    (length, bytes)
}

/// Machine code, laid out from some offset of a page on.
struct Code {
    from: usize,
    bytes: Vec<u8>,
}

/// A jump, or load, whose target is not known yet: where its 32-bit displacement is.
struct Later(usize);

impl Code {
    fn at(from: usize) -> Code {
        Code { from, bytes: Vec::new() }
    }

    fn here(&self) -> usize {
        self.from + self.bytes.len()
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Code {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The layout is fixed: an instruction that is not where the constants say is a mistake of this file's, which
    /// every test of it finds.
    fn reach(&self, offset: usize) {
        debug_assert_eq!(self.here(), offset);
    }

    fn pad(&mut self, offset: usize) {
        while self.here() < offset {
            self.put(&[0xCC]);
        }
    }

    /// A jump with a displacement of 8 bits.
    fn short(&mut self, opcode: u8, target: usize) {
        let displacement = distance(self.here() + 2, target);
        debug_assert!(i8::try_from(displacement).is_ok());
        self.put(&[opcode, displacement.to_le_bytes()[0]]);
    }

    /// A jump with a displacement of 32 bits.
    fn near(&mut self, opcode: &[u8], target: usize) {
        let jump = self.later(opcode);
        self.resolve(jump, target);
    }

    fn later(&mut self, opcode: &[u8]) -> Later {
        self.put(opcode).put(&[0; 4]);
        Later(self.bytes.len() - 4)
    }

    fn resolve(&mut self, jump: Later, target: usize) {
        let displacement = distance(self.from + jump.0 + 4, target);
        self.bytes[jump.0..jump.0 + 4].copy_from_slice(&displacement.to_le_bytes());
    }
}

/// Offsets in a page are far below 2³¹.
fn distance(from: usize, to: usize) -> i32 {
    i32::try_from(to).unwrap_or(0) - i32::try_from(from).unwrap_or(0)
}

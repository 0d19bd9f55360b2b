//! statmount(2)'s answer: a header of fixed size, then strings that the header points to.
//!
//! Layout and bits: linux/mount.h, `struct statmount`. The new type's name is put behind the last
//! string and the header's offset changed: nothing else has to move.

/// Size of the header in bytes; offsets of strings count from here.
pub const HEADER_BYTES: usize = 512;

const SIZE: usize = 0;
const MASK: usize = 8;
const SB_MAGIC: usize = 24;
const FS_TYPE: usize = 36;
const MNT_POINT: usize = 108;

const STATMOUNT_SB_BASIC: u64 = 0x1;
const STATMOUNT_MNT_POINT: u64 = 0x10;
const STATMOUNT_FS_TYPE: u64 = 0x20;

/// An answer as the kernel wrote it, shorter than the header where the caller's buffer was.
#[derive(Debug)]
pub struct Answer<'a> {
    bytes: &'a [u8],
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Rewritten {
    Unchanged,
    /// The bytes to write, from the beginning of the buffer.
    Changed(Vec<u8>),
    /// The new name does not fit: the kernel's own answer to that is EOVERFLOW.
    Overflow,
}

impl<'a> Answer<'a> {
    /// `bytes`: as many of the caller's buffer as the kernel wrote.
    pub fn new(bytes: &'a [u8]) -> Self {
        Answer { bytes }
    }

    /// Bytes that the kernel wrote, by the first word of the struct; None where that is missing.
    pub fn written_bytes(start: &[u8]) -> Option<u32> {
        u32_at(start, SIZE)
    }

    /// The file system's type, where it was asked for.
    pub fn fstype(&self) -> Option<&'a [u8]> {
        self.string(STATMOUNT_FS_TYPE, FS_TYPE)
    }

    /// The superblock's magic, where it was asked for.
    pub fn magic(&self) -> Option<u64> {
        if self.mask()? & STATMOUNT_SB_BASIC == 0 { None } else { u64_at(self.bytes, SB_MAGIC) }
    }

    /// The mount point, where it was asked for; not escaped.
    pub fn mount_point(&self) -> Option<&'a [u8]> {
        self.string(STATMOUNT_MNT_POINT, MNT_POINT)
    }

    /// The answer with another type and magic, in a buffer of `capacity` bytes.
    pub fn rewrite(&self, fstype: Option<&str>, magic: Option<u32>, capacity: u64) -> Rewritten {
        let mut bytes = self.bytes.to_vec();
        if let (Some(_), Some(new)) = (self.magic(), magic) {
            bytes[SB_MAGIC..SB_MAGIC + 8].copy_from_slice(&u64::from(new).to_le_bytes());
        }
        if let (Some(_), Some(name)) = (self.fstype(), fstype) {
            let new_size = bytes.len() + name.len() + 1;
            let (Ok(size), Ok(at)) = (u32::try_from(new_size), u32::try_from(bytes.len() - HEADER_BYTES))
            else {
                return Rewritten::Overflow;
            };
            if u64::from(size) > capacity {
                return Rewritten::Overflow;
            }
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
            bytes[SIZE..SIZE + 4].copy_from_slice(&size.to_le_bytes());
            bytes[FS_TYPE..FS_TYPE + 4].copy_from_slice(&at.to_le_bytes());
        }
        if bytes == self.bytes { Rewritten::Unchanged } else { Rewritten::Changed(bytes) }
    }

    fn mask(&self) -> Option<u64> {
        u64_at(self.bytes, MASK)
    }

    fn string(&self, bit: u64, offset_at: usize) -> Option<&'a [u8]> {
        if self.mask()? & bit == 0 {
            return None;
        }
        let offset = usize::try_from(u32_at(self.bytes, offset_at)?).ok()?;
        let rest = self.bytes.get(HEADER_BYTES.checked_add(offset)?..)?;
        Some(&rest[..rest.iter().position(|b| *b == 0)?])
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with type, mount point and magic.
    fn sample() -> Vec<u8> {
        let strings = b"9p\0/mnt\0";
        let mut bytes = vec![0u8; HEADER_BYTES];
        bytes.extend_from_slice(strings);
        let size = u32::try_from(bytes.len()).unwrap_or_default();
        bytes[SIZE..4].copy_from_slice(&size.to_le_bytes());
        let mask = STATMOUNT_FS_TYPE | STATMOUNT_MNT_POINT | STATMOUNT_SB_BASIC;
        bytes[MASK..MASK + 8].copy_from_slice(&mask.to_le_bytes());
        bytes[SB_MAGIC..SB_MAGIC + 8].copy_from_slice(&0x0102_1997u64.to_le_bytes());
        bytes[MNT_POINT..MNT_POINT + 4].copy_from_slice(&3u32.to_le_bytes());
        bytes
    }

    #[test]
    fn type_and_magic_change_and_the_other_strings_stay() {
        let bytes = sample();
        let answer = Answer::new(&bytes);
        assert_eq!(answer.fstype(), Some(&b"9p"[..]));
        let Rewritten::Changed(new) = answer.rewrite(Some("ext4"), Some(0xEF53), 4096) else {
            panic!("not changed");
        };
        let changed = Answer::new(&new);
        assert_eq!(changed.fstype(), Some(&b"ext4"[..]));
        assert_eq!(changed.mount_point(), Some(&b"/mnt"[..]));
        assert_eq!(changed.magic(), Some(0xEF53));
        assert_eq!(Answer::written_bytes(&new), Some(u32::try_from(new.len()).unwrap_or_default()));
        assert_eq!(new.len(), bytes.len() + 5);
    }

    #[test]
    fn a_buffer_that_is_too_small_overflows_as_the_kernels_would() {
        let bytes = sample();
        let capacity = bytes.len() as u64;
        let answer = Answer::new(&bytes);
        assert_eq!(answer.rewrite(Some("ext4"), None, capacity + 4), Rewritten::Overflow);
        assert!(matches!(answer.rewrite(Some("ext4"), None, capacity + 5), Rewritten::Changed(_)));
    }

    #[test]
    fn what_was_not_asked_for_is_not_answered() {
        let mut bytes = sample();
        bytes[MASK..MASK + 8].fill(0);
        let answer = Answer::new(&bytes);
        assert_eq!((answer.fstype(), answer.magic(), answer.mount_point()), (None, None, None));
        assert_eq!(answer.rewrite(Some("ext4"), Some(1), 4096), Rewritten::Unchanged);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, mask: u64, offset: u32, capacity: u64) {
            let mut long = sample();
            long[MASK..MASK + 8].copy_from_slice(&mask.to_le_bytes());
            long[FS_TYPE..FS_TYPE + 4].copy_from_slice(&offset.to_le_bytes());
            for bytes in [&bytes, &long] {
                let answer = Answer::new(bytes);
                let _ = (answer.mount_point(), answer.rewrite(Some("ext4"), Some(1), capacity));
            }
        }
    }
}

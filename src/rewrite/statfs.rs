//! The magic in statfs(2)'s struct.

/// Bytes of `f_type` that carry the magic. Every form of the struct (64-bit, i386, x32, statfs64)
/// begins with it, and little-endian machines keep its low 32 bits first; no magic needs more.
pub const MAGIC_BYTES: usize = 4;

/// Size in bytes of the 64-bit `struct statfs`: asm-generic/statfs.h.
pub const STRUCT_BYTES: usize = size_of::<libc::statfs>();

/// The magic at the beginning of the struct.
pub fn magic(start: [u8; MAGIC_BYTES]) -> u32 {
    u32::from_le_bytes(start)
}

/// The bytes to put at the beginning of the struct.
pub fn with_magic(magic: u32) -> [u8; MAGIC_BYTES] {
    magic.to_le_bytes()
}

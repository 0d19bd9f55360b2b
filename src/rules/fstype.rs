//! File system types: their names in mount tables and their magic numbers in statfs(2).

use std::fmt;
use std::str::FromStr;

/// A type as both faces show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsType {
    name: String,
    magic: u32,
}

/// Names and magics: statfs(2) and linux/magic.h. Types that share a magic stand side by side.
const KNOWN: &[(&str, u32)] = &[
    ("9p", 0x0102_1997),
    ("adfs", 0xADF5),
    ("affs", 0xADFF),
    ("afs", 0x5346_414F),
    ("autofs", 0x0187),
    ("bcachefs", 0xCA45_1A4E),
    ("btrfs", 0x9123_683E),
    ("ceph", 0x00C3_6400),
    ("cifs", 0xFF53_4D42),
    ("coda", 0x7375_7245),
    ("cramfs", 0x28CD_3D45),
    ("ecryptfs", 0xF15F),
    ("erofs", 0xE0F5_E1E2),
    ("exfat", 0x2011_BAB0),
    ("ext2", 0xEF53),
    ("ext3", 0xEF53),
    ("ext4", 0xEF53),
    ("f2fs", 0xF2F5_2010),
    ("fuse", 0x6573_5546),
    ("gfs2", 0x0116_1970),
    ("hfs", 0x4244),
    ("hfsplus", 0x482B),
    ("iso9660", 0x9660),
    ("jffs2", 0x72B6),
    ("jfs", 0x3153_464A),
    ("nfs", 0x6969),
    ("nilfs2", 0x3434),
    ("ntfs", 0x5346_544E),
    ("ntfs3", 0x7366_746E),
    ("ocfs2", 0x7461_636F),
    ("overlay", 0x794C_7630),
    ("ramfs", 0x8584_58F6),
    ("reiserfs", 0x5265_4973),
    ("romfs", 0x7275),
    ("smb3", 0xFE53_4D42),
    ("squashfs", 0x7371_7368),
    ("tmpfs", 0x0102_1994),
    ("ubifs", 0x2405_1905),
    ("udf", 0x1501_3346),
    ("v7", 0x012F_F7B4),
    ("vfat", 0x4D44),
    ("virtiofs", 0x6573_5546),
    ("xenfs", 0xABBA_1974),
    ("xfs", 0x5846_5342),
    ("zfs", 0x2FC1_2FC1),
];

/// Faces of the kernel itself: programs find them by their type (a container runtime looks for
/// cgroup2 by its magic, a C library for proc), so showing them as something else breaks programs.
const KERNELS_OWN: &[(&str, u32)] = &[
    ("anon_inodefs", 0x0904_1934),
    ("bdev", 0x6264_6576),
    ("binfmt_misc", 0x4249_4E4D),
    ("bpf", 0xCAFE_4A11),
    ("cgroup", 0x0027_E0EB),
    ("cgroup2", 0x6367_7270),
    ("configfs", 0x6265_6570),
    ("cpuset", 0x0027_E0EB),
    ("debugfs", 0x6462_6720),
    ("devpts", 0x1CD1),
    ("devtmpfs", 0x0102_1994),
    ("efivarfs", 0xDE5E_81E4),
    ("fusectl", 0x6573_5543),
    ("hugetlbfs", 0x9584_58F6),
    ("mqueue", 0x1980_0202),
    ("nsfs", 0x6E73_6673),
    ("pipefs", 0x5049_5045),
    ("proc", 0x9FA0),
    ("pstore", 0x6165_676C),
    ("resctrl", 0x0765_5821),
    ("rpc_pipefs", 0x6759_6969),
    ("securityfs", 0x7363_6673),
    ("selinuxfs", 0xF97C_FF8C),
    ("sockfs", 0x534F_434B),
    ("sysfs", 0x6265_6572),
    ("tracefs", 0x7472_6163),
];

/// Magic of procfs: what a mount table's own file is on.
pub const PROC_MAGIC: u32 = 0x9FA0;
/// Magic of tmpfs, and of every memfd.
pub const TMPFS_MAGIC: u32 = 0x0102_1994;

/// Why a word is no type, or not one that may be mapped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FsTypeError {
    #[error(
        "unknown file system type `{0}`; known are {known}; for any other give its magic as well, as in `{0}:0x6969`",
        known = KNOWN.iter().map(|k| k.0).collect::<Vec<_>>().join(", ")
    )]
    Unknown(String),
    #[error(
        "`{0}` is a face of the kernel itself and must not be shown as another type: programs find it \
         by its type (container runtimes look for cgroup2, C libraries for proc)"
    )]
    KernelsOwn(String),
    #[error("`{0}` is not a magic number: expected 0x and up to 8 hexadecimal digits, as in `9p:0x01021997`")]
    Magic(String),
    #[error("`{0}` can't be a type's name in a mount table: it is empty or has blanks")]
    Name(String),
}

impl FsType {
    /// The type `name`, of statfs(2)'s table.
    pub fn known(name: &str) -> Option<FsType> {
        let (name, magic) = KNOWN.iter().find(|(known, _)| *known == name)?;
        Some(FsType { name: (*name).to_owned(), magic: *magic })
    }

    /// The type that a mount table names so, the kernel's own included.
    pub fn in_tables(name: &str) -> Option<FsType> {
        let (name, magic) = KNOWN.iter().chain(KERNELS_OWN).find(|(known, _)| *known == name)?;
        Some(FsType { name: (*name).to_owned(), magic: *magic })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number in statfs's f_type.
    pub fn magic(&self) -> u32 {
        self.magic
    }

    /// Whether a mount table's token is of this type. The types below FUSE and NFS have several
    /// names in tables, but one magic.
    pub fn is_shown_as(&self, token: &[u8]) -> bool {
        match self.name.as_str() {
            "fuse" => token == b"fuse" || token == b"fuseblk" || token.starts_with(b"fuse."),
            "nfs" => token == b"nfs" || token == b"nfs4",
            name => token == name.as_bytes(),
        }
    }

    /// Refuses what must not be hidden.
    pub fn check_maskable(&self) -> Result<(), FsTypeError> {
        // A magic that a kernel's face shares with an ordinary type (devtmpfs, tmpfs) can't decide.
        let ordinary = KNOWN.iter().any(|(_, magic)| *magic == self.magic);
        let forbidden =
            KERNELS_OWN.iter().any(|(name, magic)| *name == self.name || (*magic == self.magic && !ordinary));
        if forbidden { Err(FsTypeError::KernelsOwn(self.name.clone())) } else { Ok(()) }
    }
}

impl FromStr for FsType {
    type Err = FsTypeError;

    /// `NAME`, or `NAME:0xMAGIC`.
    fn from_str(text: &str) -> Result<Self, FsTypeError> {
        let (name, magic) = match text.split_once(':') {
            Some((name, magic)) => (name, Some(magic)),
            None => (text, None),
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(FsTypeError::Name(name.to_owned()));
        }
        let magic = match magic {
            Some(magic) => magic
                .strip_prefix("0x")
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| FsTypeError::Magic(magic.to_owned()))?,
            None => KNOWN
                .iter()
                .chain(KERNELS_OWN)
                .find(|(known, _)| *known == name)
                .map(|(_, magic)| *magic)
                .ok_or_else(|| FsTypeError::Unknown(name.to_owned()))?,
        };
        Ok(FsType { name: name.to_owned(), magic })
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if FsType::known(&self.name).as_ref() == Some(self) {
            f.write_str(&self.name)
        } else {
            write!(f, "{}:{:#010x}", self.name, self.magic)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_magics() {
        assert_eq!("9p".parse::<FsType>().map(|t| t.magic()), Ok(0x0102_1997));
        assert_eq!("weird:0x1234".parse::<FsType>().map(|t| t.to_string()), Ok("weird:0x00001234".into()));
        assert_eq!("ext4".parse::<FsType>().map(|t| t.to_string()), Ok("ext4".into()));
        assert!(matches!("nosuch".parse::<FsType>(), Err(FsTypeError::Unknown(_))));
        assert!(matches!("9p:123".parse::<FsType>(), Err(FsTypeError::Magic(_))));
        assert!(matches!("9p:0x123456789".parse::<FsType>(), Err(FsTypeError::Magic(_))));
        assert!(matches!("a b:0x1".parse::<FsType>(), Err(FsTypeError::Name(_))));
    }

    #[test]
    fn faces_of_the_kernel_are_refused_by_name_and_by_magic() {
        let refused = |text: &str| text.parse::<FsType>().is_ok_and(|t| t.check_maskable().is_err());
        for (name, _) in KERNELS_OWN {
            assert!(refused(name), "{name}");
        }
        assert!(refused("disguise:0x9fa0"));
        for (name, _) in KNOWN {
            assert!(!refused(name), "{name}");
        }
    }

    #[test]
    fn families_with_one_magic_share_their_names() {
        let fuse = FsType::known("fuse");
        for token in ["fuse", "fuseblk", "fuse.sshfs"] {
            assert!(fuse.as_ref().is_some_and(|t| t.is_shown_as(token.as_bytes())), "{token}");
        }
        assert!(!fuse.is_some_and(|t| t.is_shown_as(b"fusectl")));
    }
}

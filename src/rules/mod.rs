//! What is shown as what: the one place that decides.

pub mod fstype;
pub mod profile;
mod untraced;

pub use fstype::{FsType, FsTypeError};
pub use profile::{Profile, ProfileError};
pub use untraced::Untraced;

use crate::rewrite::mount_table::{Device, Mount, unescape};
use profile::last_component;
use std::collections::{HashMap, HashSet};
use std::str::FromStr;

/// `FROM=TO`: file systems of one type appear as another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub from: FsType,
    pub to: FsType,
}

/// Why a text is no mapping.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MappingError {
    #[error("`{0}` is not of the form FROM=TO, as in `9p=ext4`")]
    Form(String),
    #[error(transparent)]
    Type(#[from] FsTypeError),
}

impl FromStr for Mapping {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        let (from, to) = text.split_once('=').ok_or_else(|| MappingError::Form(text.to_owned()))?;
        let from: FsType = from.parse()?;
        from.check_maskable()?;
        Ok(Mapping { from, to: to.parse()? })
    }
}

/// Which mounts the mappings are for, by their mount points as the program sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Where not empty: only mounts at or below one of these.
    pub only: Vec<Vec<u8>>,
    /// And never mounts at or below one of these.
    pub except: Vec<Vec<u8>>,
}

impl Scope {
    /// Whether every mount is in it, so that nobody needs to know where a file is mounted.
    pub fn is_everything(&self) -> bool {
        self.only.is_empty() && self.except.is_empty()
    }

    /// Whether the mount at `mount_point` (not escaped) is in it. The longest path decides.
    pub fn contains(&self, mount_point: &[u8]) -> bool {
        let longest =
            |paths: &[Vec<u8>]| paths.iter().filter(|p| is_at_or_below(mount_point, p)).map(Vec::len).max();
        match (longest(&self.only), longest(&self.except)) {
            (only, Some(except)) => only.is_some_and(|only| only > except),
            (Some(_), None) => true,
            (None, None) => self.only.is_empty(),
        }
    }
}

fn is_at_or_below(path: &[u8], root: &[u8]) -> bool {
    root == b"/" || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Everything that decides what a program sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub mappings: Vec<Mapping>,
    pub scope: Scope,
    pub profile: Profile,
    pub untraced: Untraced,
}

impl Default for Rules {
    /// 9p as ext4, everywhere, and no profile.
    fn default() -> Self {
        let mapping = FsType::known("9p").zip(FsType::known("ext4"));
        Rules {
            mappings: mapping.map(|(from, to)| Mapping { from, to }).into_iter().collect(),
            scope: Scope::default(),
            profile: Profile::none(),
            untraced: Untraced::default(),
        }
    }
}

/// The last components of mount tables' paths; others are descriptors of procfs, by number.
pub const MOUNT_TABLES: [&[u8]; 4] = [b"mountinfo", b"mounts", b"mountstats", b"mtab"];

impl Rules {
    /// The type to show for a magic of statfs.
    pub fn for_magic(&self, magic: u32) -> Option<&Mapping> {
        self.mappings.iter().find(|m| m.from.magic() == magic)
    }

    /// The type to show for a token of a mount table, whatever the mount point.
    pub fn for_fstype(&self, token: &[u8]) -> Option<&Mapping> {
        self.mappings.iter().find(|m| m.from.is_shown_as(token))
    }

    /// The same, for a line of a table.
    pub fn for_mount(&self, mount: &Mount) -> Option<&Mapping> {
        let mapping = self.for_fstype(mount.fstype)?;
        (self.scope.is_everything() || self.scope.contains(&unescape(mount.mount_point))).then_some(mapping)
    }

    /// Whether opening `path` may open a mount table. The object that is opened decides in the end.
    pub fn may_be_mount_table(path: &[u8]) -> bool {
        let name = last_component(path);
        MOUNT_TABLES.contains(&name) || is_descriptor_link(path, name)
    }

    /// The sources to show for a `mountinfo` table's mounts, by the index of their line: empty
    /// without a source rule.
    pub fn sources<'a>(&self, mounts: &[Mount<'a>]) -> HashMap<usize, Vec<u8>> {
        if !self.profile.source.unique {
            return HashMap::new();
        }
        let masked = || {
            mounts
                .iter()
                .enumerate()
                .filter(|(_, m)| self.for_mount(m).is_some())
                .filter_map(|(i, m)| Some((i, m.source, m.device?)))
        };
        let mut devices: HashMap<&[u8], HashSet<Device>> = HashMap::new();
        for (_, source, device) in masked() {
            devices.entry(source).or_default().insert(device);
        }
        masked()
            .filter(|(_, source, _)| *source == b"none" || devices[source].len() > 1)
            .map(|(index, _, device)| (index, unique_source(device)))
            .collect()
    }
}

/// A source that looks like a block device: cAdvisor takes nothing else for a partition.
fn unique_source(device: Device) -> Vec<u8> {
    format!("/dev/fsmasq-{}-{}", device.major, device.minor).into_bytes()
}

/// `…/fd/NUMBER`: a descriptor opened again, which may be that of a mount table.
fn is_descriptor_link(path: &[u8], name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(u8::is_ascii_digit)
        && path[..path.len() - name.len()]
            .strip_suffix(b"/")
            // A bare number may be relative to a descriptor of /proc/self/fd itself.
            .is_none_or(|folder| last_component(folder) == b"fd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::mount_table::{Format, mounts};

    #[test]
    fn mappings_are_parsed_and_kernel_faces_refused() {
        assert_eq!("9p=ext4".parse(), Ok(Rules::default().mappings[0].clone()));
        assert!(matches!("9p".parse::<Mapping>(), Err(MappingError::Form(_))));
        assert!(matches!(
            "proc=ext4".parse::<Mapping>(),
            Err(MappingError::Type(FsTypeError::KernelsOwn(_)))
        ));
        assert!("tmpfs=ext4".parse::<Mapping>().is_ok());
    }

    #[test]
    fn scopes_are_of_whole_components_and_the_longest_decides() {
        let scope = Scope {
            only: vec![b"/var".to_vec(), b"/var/lib/a/b".to_vec()],
            except: vec![b"/var/lib/a".to_vec()],
        };
        for (path, inside) in [
            ("/var", true),
            ("/var/lib", true),
            ("/variable", false),
            ("/", false),
            ("/var/lib/a", false),
            ("/var/lib/a/c", false),
            ("/var/lib/a/b", true),
            ("/var/lib/ab", true),
        ] {
            assert_eq!(scope.contains(path.as_bytes()), inside, "{path}");
        }
        let except = Scope { only: vec![], except: vec![b"/a".to_vec()] };
        assert!(except.contains(b"/") && !except.contains(b"/a/b"));
        assert!(Scope { only: vec![b"/".to_vec()], except: vec![] }.contains(b"/x"));
    }

    #[test]
    fn names_decide_which_opens_are_worth_a_look() {
        for path in [
            "/proc/self/mountinfo",
            "mounts",
            "/etc/mtab",
            "/proc/self/fd/12",
            "/dev/fd/3",
            "x/mountstats",
            "12",
        ] {
            assert!(Rules::may_be_mount_table(path.as_bytes()), "{path}");
        }
        for path in ["/etc/passwd", "", "/", "a/12", "/12", "/proc/self/fd/", "/proc/self/fd/1a", "/xfd/1"] {
            assert!(!Rules::may_be_mount_table(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn sources_become_unique_per_device_where_they_are_not() {
        let table = b"1 0 0:1 / / rw - 9p none rw\n\
            2 1 0:2 / /a rw - 9p none rw\n\
            3 1 0:2 / /b rw - 9p none rw\n\
            4 1 0:4 / /c rw - 9p tag rw\n\
            5 1 0:5 / /d rw - 9p both rw\n\
            6 1 0:6 / /e rw - 9p both rw\n\
            7 1 0:7 / /f rw - tmpfs none rw\n";
        let mounts: Vec<_> = mounts(Format::Mountinfo, table).collect();
        let rules = Rules { profile: Profile::gvisor(), ..Rules::default() };
        let sources = rules.sources(&mounts);
        let shown: Vec<_> =
            (0..7).map(|i| sources.get(&i).map(|s| String::from_utf8_lossy(s).into_owned())).collect();
        let of = |minor: u32| Some(format!("/dev/fsmasq-0-{minor}"));
        assert_eq!(shown, [of(1), of(2), of(2), None, of(5), of(6), None]);
        assert!(Rules::default().sources(&mounts).is_empty());
    }
}

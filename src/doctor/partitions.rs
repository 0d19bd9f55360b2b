//! Which directories cAdvisor, and with it the kubelet, can tell the file system of: the same rules on the same table.

use crate::rewrite::mount_table::{Device, Mount, unescape};
use crate::rules::Rules;
use std::collections::HashMap;

/// The devices that cAdvisor takes for partitions, of the table that a program below fsmasq sees under `rules`; None for
/// the table as it is.
pub fn devices(mounts: &[Mount], rules: Option<&Rules>) -> Vec<Device> {
    let sources = rules.map(|rules| rules.sources(mounts)).unwrap_or_default();
    // By source: the first mount of a source counts, except that tmpfs is known by its mount point.
    let mut partitions: HashMap<Vec<u8>, Device> = HashMap::new();
    for (index, mount) in mounts.iter().enumerate() {
        let shown =
            rules.and_then(|rules| rules.for_mount(mount)).map(|mapping| mapping.to.name().as_bytes());
        let fstype = shown.unwrap_or(mount.fstype);
        let Some(device) = mount.device.filter(|_| is_known(fstype)) else { continue };
        let source = sources.get(&index).cloned().unwrap_or_else(|| mount.source.to_vec());
        if fstype != b"tmpfs" && partitions.contains_key(&source) {
            continue;
        }
        let key = match fstype {
            b"tmpfs" => unescape(mount.mount_point),
            b"overlay" => {
                format!("{}_{}-{}", String::from_utf8_lossy(&source), device.major, device.minor).into()
            }
            _ => source,
        };
        partitions.insert(key, device);
    }
    partitions.into_values().collect()
}

/// Whether cAdvisor gives figures of a file system of this type.
pub fn is_known(fstype: &[u8]) -> bool {
    fstype.starts_with(b"ext")
        || fstype.starts_with(b"nfs")
        || matches!(fstype, b"btrfs" | b"overlay" | b"tmpfs" | b"xfs" | b"zfs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::mount_table::{Format, mounts};
    use crate::rules::Profile;

    const TABLE: &[u8] = b"1 0 0:1 / / rw - 9p none rw\n\
        2 1 0:2 / /var/lib/kubelet rw - 9p none rw\n\
        3 1 0:3 / /tmp rw - tmpfs none rw\n\
        4 1 0:4 / /run rw - tmpfs none rw\n\
        5 1 0:5 / /proc rw - proc none rw\n";

    fn minors(rules: Option<&Rules>) -> Vec<u32> {
        let table: Vec<_> = mounts(Format::Mountinfo, TABLE).collect();
        let mut minors: Vec<u32> = devices(&table, rules).into_iter().map(|device| device.minor).collect();
        minors.sort_unstable();
        minors
    }

    #[test]
    fn types_and_sources_decide_what_is_a_partition() {
        assert_eq!(minors(None), [3, 4]);
        // All have the source `none`: the second one is taken for the first.
        assert_eq!(minors(Some(&Rules::default())), [1, 3, 4]);
        let rules = Rules { profile: Profile::gvisor(), ..Rules::default() };
        assert_eq!(minors(Some(&rules)), [1, 2, 3, 4]);
    }
}

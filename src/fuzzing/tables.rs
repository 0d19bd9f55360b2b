//! Answers that are rewritten: mount tables, statfs(2), statmount(2).

use super::Pieces;
use crate::arch::low32;
use crate::rewrite::mount_table::{Format, Mount, Replacement, mounts, rewrite, unescape};
use crate::rewrite::statfs::{MAGIC_BYTES, STRUCT_BYTES, magic, with_magic};
use crate::rewrite::statmount::{Answer, Rewritten};
use crate::rules::{Mapping, Profile, Rules, Scope};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

/// The default; a profile's sources; a scope; types with several names.
static RULES: LazyLock<[Rules; 4]> = LazyLock::new(|| {
    let scope = Scope { only: vec![b"/".to_vec()], except: vec![b"/a".to_vec(), b"/b c".to_vec()] };
    let families: Vec<Mapping> =
        ["fuse=xfs", "nfs=ext4", "tmpfs=btrfs"].iter().filter_map(|m| m.parse().ok()).collect();
    [
        Rules::default(),
        Rules { profile: Profile::gvisor(), ..Rules::default() },
        Rules { scope, ..Rules::default() },
        Rules { mappings: families, ..Rules::default() },
    ]
});

/// A table of any format, under each of the rules.
pub fn mount_table(table: &[u8]) {
    for format in [Format::Mountinfo, Format::Mounts, Format::Mountstats] {
        for rules in RULES.iter() {
            table_under(rules, format, table);
        }
    }
    let plain = unescape(table);
    assert!(plain.len() <= table.len());
    let escape = |b: &u8| [b'\\', b'0' + (b >> 6), b'0' + (b >> 3 & 7), b'0' + (b & 7)];
    let escaped: Vec<u8> = table.iter().flat_map(escape).collect();
    assert_eq!(unescape(&escaped), table);
}

fn table_under(rules: &Rules, format: Format, table: &[u8]) {
    let listed: Vec<Mount> = mounts(format, table).collect();
    let sources = rules.sources(&listed);
    check_sources(rules, &listed, &sources);
    let mut seen = 0;
    let new = rewrite(format, table, |index, mount| {
        assert_eq!((index, mount), (seen, &listed[seen]));
        seen += 1;
        let Some(mapping) = rules.for_mount(mount) else { return Replacement::default() };
        let fstype = Some(mapping.to.name().as_bytes().to_vec());
        Replacement { fstype, source: sources.get(&index).cloned() }
    });
    assert_eq!(seen, listed.len());
    let is_masked = |line: &[u8]| masked_fields(rules, format, line).is_some();
    let Some(new) = new else {
        assert!(!table.split(|b| *b == b'\n').any(is_masked), "a line was left as it is");
        return;
    };
    let lines = |text: &[u8]| text.iter().filter(|b| **b == b'\n').count();
    assert_eq!(lines(&new), lines(table));
    for (old, new) in table.split(|b| *b == b'\n').zip(new.split(|b| *b == b'\n')) {
        let Some((fstype_at, source_at)) = masked_fields(rules, format, old) else {
            assert_eq!(old, new, "a line that no rule is for has changed");
            continue;
        };
        let fields =
            |line| -> Vec<Vec<u8>> { <[u8]>::split(line, |b| *b == b' ').map(<[u8]>::to_vec).collect() };
        let (mut expected, new) = (fields(old), fields(new));
        let mapping = rules.for_fstype(&expected[fstype_at]);
        expected[fstype_at] = mapping.map(|m| m.to.name().as_bytes().to_vec()).unwrap_or_default();
        if rules.profile.source.unique
            && let Some(at) = source_at
            && new[at].starts_with(b"/dev/fsmasq-")
        {
            expected[at].clone_from(&new[at]);
        }
        assert_eq!(expected, new);
    }
    // The types that are shown are not masked themselves.
    assert!(!new.split(|b| *b == b'\n').any(is_masked), "a masked line is left");
}

/// Where a line that has to change has its type, and its source if that may change.
fn masked_fields(rules: &Rules, format: Format, line: &[u8]) -> Option<(usize, Option<usize>)> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let (point_at, fstype_at, source_at) = match format {
        Format::Mounts => (1, 2, (fields.len() > 3).then_some(0)?),
        Format::Mountinfo => {
            let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
            (4, dash + 1, dash + 2)
        }
        Format::Mountstats => (4, 7, 1),
    };
    fields.get(source_at)?;
    let mut source_at = Some(source_at);
    if format == Format::Mountstats {
        let words = [(2, &b"mounted"[..]), (3, b"on"), (5, b"with"), (6, b"fstype")];
        if words.iter().any(|(at, word)| fields.get(*at) != Some(word)) {
            return None;
        }
        match fields[0] {
            b"device" => {}
            b"no" => source_at = None,
            _ => return None,
        }
    }
    let mapping = rules.for_fstype(fields.get(fstype_at)?)?;
    let inside = rules.scope.is_everything() || rules.scope.contains(&unescape(fields[point_at]));
    (inside && mapping.to.name().as_bytes() != fields[fstype_at]).then_some((fstype_at, source_at))
}

/// Devices can be told apart by their sources, and only masked mounts get new ones.
fn check_sources(rules: &Rules, listed: &[Mount], sources: &HashMap<usize, Vec<u8>>) {
    assert!(rules.profile.source.unique || sources.is_empty());
    for (index, source) in sources {
        assert!(rules.for_mount(&listed[*index]).is_some());
        assert!(!source.iter().any(u8::is_ascii_whitespace));
    }
    let mut devices = HashMap::new();
    for (index, mount) in listed.iter().enumerate().filter(|(_, mount)| rules.for_mount(mount).is_some()) {
        // A mount may have such a source by itself.
        let is_as_if_made_up = mount.source.starts_with(b"/dev/fsmasq-") && !sources.contains_key(&index);
        if let Some(device) = mount.device
            && rules.profile.source.unique
            && !is_as_if_made_up
        {
            let shown = sources.get(&index).map_or(mount.source, Vec::as_slice);
            assert!(shown != b"none");
            assert_eq!(*devices.entry(shown).or_insert(device), device, "two devices, one source");
        }
    }
}

/// The struct of statfs(2): the word that is written is the type's, and nothing else.
pub fn statfs(input: &[u8]) {
    let bytes: [u8; STRUCT_BYTES] = Pieces(input).take();
    let decode = |bytes: [u8; STRUCT_BYTES]| {
        // SAFETY: integers only, for which all bytes are values, and the same size.
        unsafe { std::mem::transmute::<[u8; STRUCT_BYTES], libc::statfs>(bytes) }
    };
    let mut start = [0; MAGIC_BYTES];
    start.copy_from_slice(&bytes[..MAGIC_BYTES]);
    let old = decode(bytes);
    assert_eq!(magic(start), low32(old.f_type.cast_unsigned()));
    for mapping in RULES.iter().flat_map(|rules| &rules.mappings) {
        let mut new = bytes;
        new[..MAGIC_BYTES].copy_from_slice(&with_magic(mapping.to.magic()));
        let new = decode(new);
        assert_eq!(low32(new.f_type.cast_unsigned()), mapping.to.magic());
        assert_eq!(new.f_type >> 32, old.f_type >> 32);
        let others =
            |s: &libc::statfs| (s.f_bsize, s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_namelen);
        assert_eq!(others(&new), others(&old));
    }
}

/// What statmount(2) answered, in buffers of several sizes.
pub fn statmount(input: &[u8]) {
    let written = Answer::written_bytes(input).and_then(|size| usize::try_from(size).ok());
    let bytes = &input[..written.unwrap_or(0).min(input.len())];
    let answer = Answer::new(bytes);
    let same = |a: &[u8], b: &[u8], range: Range<usize>| a.get(range.clone()) == b.get(range);
    for room in [0, 4, 5, 4096] {
        let capacity = (bytes.len() + room) as u64;
        match answer.rewrite(Some("ext4"), Some(0xEF53), capacity) {
            Rewritten::Overflow => assert!(answer.fstype().is_some() && room < 5),
            Rewritten::Unchanged => {
                assert!(answer.fstype().is_none() && answer.magic().is_none_or(|magic| magic == 0xEF53));
            }
            Rewritten::Changed(new) => {
                assert!(new.len() as u64 <= capacity);
                let changed = Answer::new(&new);
                // An offset behind the last string, which no kernel gives, may point to the new name.
                assert!(answer.mount_point().is_none_or(|at| changed.mount_point() == Some(at)));
                assert_eq!(changed.magic(), answer.magic().map(|_| 0xEF53));
                assert_eq!(changed.fstype(), answer.fstype().map(|_| &b"ext4"[..]));
                let added = if answer.fstype().is_some() { 5 } else { 0 };
                assert_eq!(new.len(), bytes.len() + added);
                if added > 0 {
                    assert_eq!(Answer::written_bytes(&new).map(u64::from), Some(new.len() as u64));
                }
                // linux/mount.h: size, magic, and the offset of the type's name are at 0, 24, 36.
                for kept in [4..24, 32..36, 40..bytes.len()] {
                    assert!(same(&new, bytes, kept));
                }
                assert_eq!(Answer::new(&new).rewrite(None, Some(0xEF53), u64::MAX), Rewritten::Unchanged);
            }
        }
    }
}

//! Mount tables: `mountinfo`, `mounts` and `mountstats` of procfs (proc_pid_mountinfo(5), fstab(5)).
//!
//! Only the tokens of a line that a rule names are replaced; every other byte is as the kernel wrote
//! it: gVisor's two blanks before the dash, optional fields, escapes, a last line without a newline.

use std::ops::Range;

/// Which of procfs's three tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Mountinfo,
    Mounts,
    Mountstats,
}

impl Format {
    /// By the file's name; `mtab` is nearly always a link to `mounts`, whose name then counts.
    pub fn from_name(name: &[u8]) -> Option<Format> {
        match name {
            b"mountinfo" => Some(Format::Mountinfo),
            b"mounts" => Some(Format::Mounts),
            b"mountstats" => Some(Format::Mountstats),
            _ => None,
        }
    }
}

/// What a line of any of the tables says of its mount. Tokens are as in the table: with escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Mount id and device number; only `mountinfo` has them.
    pub id: Option<u32>,
    pub device: Option<Device>,
    pub mount_point: &'a [u8],
    pub fstype: &'a [u8],
    pub source: &'a [u8],
    fstype_at: Range<usize>,
    /// None where the line has no source to replace.
    source_at: Option<Range<usize>>,
}

/// A device number, `st_dev` of what is on the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

/// What to show in place of a line's tokens; None leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replacement {
    pub fstype: Option<Vec<u8>>,
    pub source: Option<Vec<u8>>,
}

/// The table with `decide`'s replacements, or None where that changes nothing. `decide` gets the
/// index of the line among those that describe a mount, and what the line says.
pub fn rewrite(
    format: Format,
    table: &[u8],
    mut decide: impl FnMut(usize, &Mount) -> Replacement,
) -> Option<Vec<u8>> {
    let mut rewritten: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut index = 0;
    let mut line_start = 0;
    for line in table.split_inclusive(|b| *b == b'\n') {
        if let Some(mount) = parse(format, line.strip_suffix(b"\n").unwrap_or(line)) {
            let Replacement { fstype, source } = decide(index, &mount);
            index += 1;
            let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
            edits.extend(fstype.map(|new| (mount.fstype_at.clone(), new)));
            edits.extend(mount.source_at.clone().zip(source));
            // `mounts` has the source first, `mountinfo` the type.
            edits.sort_by_key(|(at, _)| at.start);
            for (at, new) in edits {
                if line[at.clone()] == new {
                    continue;
                }
                let output = rewritten.get_or_insert_with(|| Vec::with_capacity(table.len() + 1024));
                output.extend_from_slice(&table[copied..line_start + at.start]);
                output.extend_from_slice(&new);
                copied = line_start + at.end;
            }
        }
        line_start += line.len();
    }
    if let Some(output) = &mut rewritten {
        output.extend_from_slice(&table[copied..]);
    }
    rewritten
}

/// The lines of a table that describe a mount, in order.
pub fn mounts(format: Format, table: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    table.split(|b| *b == b'\n').filter_map(move |line| parse(format, line))
}

fn parse(format: Format, line: &[u8]) -> Option<Mount<'_>> {
    let tokens = tokens(line);
    match format {
        Format::Mountinfo => mountinfo_line(line, &tokens),
        Format::Mounts => mounts_line(line, &tokens),
        Format::Mountstats => mountstats_line(line, &tokens),
    }
}

/// The ranges between single blanks; two blanks in a row have an empty token between them (an empty
/// source, or gVisor's list of optional fields).
fn tokens(line: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    line.split(|b| *b == b' ')
        .map(|token| {
            let range = start..start + token.len();
            start = range.end + 1;
            range
        })
        .collect()
}

/// `30 25 0:26 / /var/lib/kubelet rw,relatime shared:1 - 9p source rw,dirsync`
fn mountinfo_line<'a>(line: &'a [u8], tokens: &[Range<usize>]) -> Option<Mount<'a>> {
    const FIRST_OPTIONAL: usize = 6;
    let dash = (FIRST_OPTIONAL..tokens.len()).find(|i| line[tokens[*i].clone()] == *b"-")?;
    let mount = mount_at(line, tokens.get(4)?, tokens.get(dash + 1)?, tokens.get(dash + 2)?);
    Some(Mount { id: number(&line[tokens[0].clone()]), device: device(&line[tokens[2].clone()]), ..mount })
}

/// `source /var/lib/kubelet 9p rw,relatime 0 0`
fn mounts_line<'a>(line: &'a [u8], tokens: &[Range<usize>]) -> Option<Mount<'a>> {
    tokens.get(3)?;
    Some(mount_at(line, &tokens[1], &tokens[2], &tokens[0]))
}

/// `device source mounted on /var/lib/kubelet with fstype 9p statvers=1.1`, or `no device mounted …`
fn mountstats_line<'a>(line: &'a [u8], tokens: &[Range<usize>]) -> Option<Mount<'a>> {
    let at = |i: usize| tokens.get(i).map(|t| &line[t.clone()]);
    let matches = |from: usize, words: [&[u8]; 2]| (0..2).all(|i| at(from + i) == Some(words[i]));
    let named = at(0) == Some(b"device") || at(0) == Some(b"no");
    if !(named && matches(2, [b"mounted", b"on"]) && matches(5, [b"with", b"fstype"])) {
        return None;
    }
    let mut mount = mount_at(line, &tokens[4], tokens.get(7)?, &tokens[1]);
    if at(0) == Some(b"no") {
        mount.source_at = None;
    }
    Some(mount)
}

fn mount_at<'a>(
    line: &'a [u8],
    mount_point: &Range<usize>,
    fstype: &Range<usize>,
    source: &Range<usize>,
) -> Mount<'a> {
    Mount {
        id: None,
        device: None,
        mount_point: &line[mount_point.clone()],
        fstype: &line[fstype.clone()],
        source: &line[source.clone()],
        fstype_at: fstype.clone(),
        source_at: Some(source.clone()),
    }
}

fn number(token: &[u8]) -> Option<u32> {
    std::str::from_utf8(token).ok()?.parse().ok()
}

fn device(token: &[u8]) -> Option<Device> {
    let colon = token.iter().position(|b| *b == b':')?;
    Some(Device { major: number(&token[..colon])?, minor: number(&token[colon + 1..])? })
}

/// A token without the kernel's octal escapes (`\040` for a blank; seq_path(9)).
pub fn unescape(token: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(token.len());
    let mut rest = token;
    while let Some((first, tail)) = rest.split_first() {
        match (first, octal(tail)) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = digits.get(..3)?;
    if !digits.iter().all(|d| (b'0'..=b'7').contains(d)) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to_ext4(_: usize, mount: &Mount) -> Replacement {
        Replacement { fstype: (mount.fstype == b"9p").then(|| b"ext4".to_vec()), source: None }
    }

    fn rewritten(format: Format, table: &str) -> Option<String> {
        rewrite(format, table.as_bytes(), to_ext4).map(|t| String::from_utf8_lossy(&t).into_owned())
    }

    #[test]
    fn mountinfo_of_linux_and_of_gvisor() {
        for (was, is) in [
            (
                "30 25 0:26 / /var/lib/kubelet rw,relatime - 9p kubdir rw,dirsync\n",
                "30 25 0:26 / /var/lib/kubelet rw,relatime - ext4 kubdir rw,dirsync\n",
            ),
            (
                "30 25 0:26 / / rw shared:1 master:2 - 9p none rw,trans=fd\n",
                "30 25 0:26 / / rw shared:1 master:2 - ext4 none rw,trans=fd\n",
            ),
            ("1 0 0:1 / / rw  - 9p none rw\n", "1 0 0:1 / / rw  - ext4 none rw\n"),
            ("1 0 0:1 / / rw - 9p  rw", "1 0 0:1 / / rw - ext4  rw"),
        ] {
            assert_eq!(rewritten(Format::Mountinfo, was).as_deref(), Some(is));
        }
    }

    #[test]
    fn a_table_of_a_hundred_thousand_lines_with_long_names() {
        // As long as paths can be, with all that the kernel escapes.
        let name = "/a\\040-\\0409p\\012\\011\\134#".repeat(170);
        let table = |shown: &str| {
            let mut text = String::new();
            for id in 0..100_000 {
                let place = if id % 1000 == 0 { name.as_str() } else { "/a" };
                let fstype = if id % 2 == 0 { shown } else { "tmpfs" };
                text.push_str(&format!("{id} 1 0:{id} / {place} rw shared:{id} - {fstype} 9p rw,9p\n"));
            }
            text
        };
        assert!(name.len() > 4096);
        assert!(rewritten(Format::Mountinfo, &table("9p")).as_deref() == Some(table("ext4").as_str()));
    }

    #[test]
    fn a_9p_elsewhere_in_the_line_stays() {
        let table =
            "30 25 0:26 / /9p rw,9p 9p - tmpfs 9p rw,9p\n31 25 0:27 / /a\\040-\\0409p rw - tmpfs 9p rw\n";
        assert_eq!(rewritten(Format::Mountinfo, table), None);
        assert_eq!(rewritten(Format::Mounts, "9p /9p tmpfs 9p 0 0\n"), None);
        assert_eq!(rewritten(Format::Mountinfo, "1 0 0:1 / / rw - 9p2000 none rw\n"), None);
    }

    #[test]
    fn mounts_and_mountstats() {
        assert_eq!(
            rewritten(Format::Mounts, "none / 9p rw 0 0\nproc /proc proc rw 0 0\n 9p 9p x 0 0\n").as_deref(),
            Some("none / ext4 rw 0 0\nproc /proc proc rw 0 0\n 9p ext4 x 0 0\n")
        );
        assert_eq!(
            rewritten(
                Format::Mountstats,
                "device none mounted on / with fstype 9p\nno device mounted on /a with fstype 9p x\n\tage: 9p\n"
            )
            .as_deref(),
            Some("device none mounted on / with fstype ext4\nno device mounted on /a with fstype ext4 x\n\tage: 9p\n")
        );
    }

    #[test]
    fn sources_are_replaced_in_either_order() {
        let both = |_: usize, _: &Mount| Replacement {
            fstype: Some(b"ext4".to_vec()),
            source: Some(b"/dev/x".to_vec()),
        };
        let table = rewrite(Format::Mounts, b"none / 9p rw 0 0\n", both);
        assert_eq!(table.as_deref(), Some(&b"/dev/x / ext4 rw 0 0\n"[..]));
        let table = rewrite(Format::Mountinfo, b"1 0 0:1 / / rw - 9p none rw\n", both);
        assert_eq!(table.as_deref(), Some(&b"1 0 0:1 / / rw - ext4 /dev/x rw\n"[..]));
    }

    #[test]
    fn a_line_tells_its_mount() {
        let line = b"30 25 8:26 / /a\\040b\\012c rw - 9p none rw";
        let mount: Vec<_> = mounts(Format::Mountinfo, line).collect();
        assert_eq!(mount[0].id, Some(30));
        assert_eq!(mount[0].device, Some(Device { major: 8, minor: 26 }));
        assert_eq!(unescape(mount[0].mount_point), b"/a b\nc");
        assert_eq!(unescape(b"\\04\\999\\"), b"\\04\\999\\");
    }

    /// Any text in which lines and blanks are frequent.
    fn tableish() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b" ".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"-".to_vec()),
            Just(b"9p".to_vec()),
            Just(b"1 0 0:1 / / rw - 9p none rw\n".to_vec()),
            Just(b"device none mounted on / with fstype 9p\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..6),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    fn formats() -> impl Strategy<Value = Format> {
        prop_oneof![Just(Format::Mountinfo), Just(Format::Mounts), Just(Format::Mountstats)]
    }

    proptest! {
        #[test]
        fn nothing_but_the_fstype_changes(table in tableish(), format in formats()) {
            // Replacing there and back again must give the same bytes: nothing else was touched.
            let mut masked = Vec::new();
            let there = rewrite(format, &table, |i, m| {
                let hit = m.fstype == b"9p";
                if hit { masked.push(i); }
                Replacement { fstype: hit.then(|| b"MASKED".to_vec()), source: None }
            });
            prop_assert_eq!(there.is_none(), masked.is_empty());
            if let Some(there) = there {
                let back = rewrite(format, &there, |i, m| Replacement {
                    fstype: (masked.contains(&i) && m.fstype == b"MASKED").then(|| b"9p".to_vec()),
                    source: None,
                });
                prop_assert_eq!(back, Some(table));
            }
        }

        #[test]
        fn no_rule_no_change(table in tableish(), format in formats()) {
            prop_assert_eq!(rewrite(format, &table, |_, _| Replacement::default()), None);
        }

        #[test]
        fn the_number_of_lines_and_blanks_stays(table in tableish(), format in formats()) {
            let count = |t: &[u8], b: u8| t.iter().filter(|x| **x == b).count();
            if let Some(new) = rewrite(format, &table, to_ext4) {
                prop_assert_eq!(count(&new, b'\n'), count(&table, b'\n'));
                prop_assert_eq!(count(&new, b' '), count(&table, b' '));
                prop_assert!(new.len() > table.len());
            }
        }
    }
}

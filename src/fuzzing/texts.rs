//! Texts: a task's status, profiles, mappings, paths, the first bytes of programs and scripts.

use crate::command::{foreign_machine, interpreter};
use crate::handlers::files::normal;
use crate::rules::profile::last_component;
use crate::rules::{FsType, Mapping, Profile, Rules, Scope};
use crate::status::Status;
use crate::tracer::signals::Dispositions;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// /proc/TID/status.
pub fn task_status(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let status = Status(text.clone());
    for name in ["Tgid", "TracerPid", "NStgid", "SigIgn", "SigCgt", "SigBlk", "Seccomp_filters"] {
        let line = text.lines().find(|line| line.split_once(':').is_some_and(|(before, _)| before == name));
        let expected = line.map(|line| line[name.len() + 1..].trim());
        assert_eq!(status.field(name), expected);
    }
    let Some(parsed) = Dispositions::parse(&status) else { return };
    let bit = |name: &str, signal: i32| {
        let mask = status.field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
        mask >> (signal - 1) & 1 == 1
    };
    for signal in 1..=64 {
        if bit("SigIgn", signal) {
            assert!(parsed.ignores(signal));
        }
        assert_eq!(parsed.catches(signal), bit("SigCgt", signal) && !bit("SigBlk", signal));
    }
    assert!(!parsed.catches(0) && !parsed.catches(65));
}

/// A profile survives being printed, and its rules match what they name.
pub fn profile(input: &[u8]) {
    let Ok(profile) = Profile::parse(&String::from_utf8_lossy(input)) else { return };
    let printed = profile.to_toml();
    assert_eq!(Profile::parse(&printed).ok().as_ref(), Some(&profile), "{printed}");
    for rule in &profile.files {
        let _ = rule.supply();
        let name = rule.file_name();
        assert!(!name.is_empty() && !name.contains(&b'/') && !rule.path.contains('\0'));
        let beside = [b"/some/folder/", name].concat();
        match rule.literal_path() {
            Some(path) => {
                assert!(rule.matches(path.as_os_str().as_bytes()));
                assert_eq!(normal(path.as_os_str().as_bytes()), path.as_os_str().as_bytes());
                assert!(!rule.matches(&beside) || beside == path.as_os_str().as_bytes());
            }
            None => assert!(rule.matches(&beside) && !rule.matches(name)),
        }
    }
}

/// The beginning of a program.
pub fn elf(bytes: &[u8]) {
    let said = foreign_machine(bytes);
    assert!(said.is_none() || bytes.starts_with(b"\x7fELF"));
    if let Some(said) = said {
        assert!(!said.is_empty() && !said.contains(char::is_control));
    }
}

/// A script's first line.
pub fn script(bytes: &[u8]) {
    let Some(interpreter) = interpreter(bytes) else {
        return assert!(!bytes.starts_with(b"#!"));
    };
    let word = interpreter.as_os_str().as_bytes();
    assert!(!word.contains(&b' ') && !word.contains(&b'\t') && !word.contains(&b'\n'));
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    assert!(line[2..].trim_ascii_start().starts_with(word));
}

/// `--map`: what is taken can be shown in a table and said again.
pub fn mapping(input: &[u8]) {
    let Ok(mapping) = String::from_utf8_lossy(input).parse::<Mapping>() else { return };
    let again = format!("{}={}", mapping.from, mapping.to);
    assert_eq!(again.parse().as_ref(), Ok(&mapping), "{again}");
    assert_eq!(mapping.from.check_maskable(), Ok(()));
    for shown in [&mapping.from, &mapping.to] {
        assert!(!shown.name().is_empty() && !shown.name().contains(char::is_whitespace));
        assert!(shown.is_shown_as(shown.name().as_bytes()));
        assert!(FsType::known(shown.name()).is_none_or(|known| known.name() == shown.name()));
    }
}

/// A path, and a mount point, one per line.
pub fn path(input: &[u8]) {
    let (path, root) = input.split_at(input.iter().position(|b| *b == b'\n').unwrap_or(input.len()));
    let root = root.strip_prefix(b"\n").unwrap_or(root);
    let name = last_component(path);
    assert!(path.ends_with(name) && !name.contains(&b'/'));
    assert!(name.len() == path.len() || path[path.len() - name.len() - 1] == b'/');
    let is_table = [&b"mountinfo"[..], b"mounts", b"mountstats", b"mtab"].contains(&name);
    let is_number = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
    let is_link = is_number
        && (name.len() == path.len()
            || path.ends_with(&[b"/fd/", name].concat())
            || path == [b"fd/", name].concat());
    assert_eq!(Rules::may_be_mount_table(path), is_table || is_link);

    let plain = normal(path);
    assert_eq!(normal(&plain), plain);
    assert!(plain.is_empty() || plain.starts_with(b"/") && !plain.ends_with(b"/"));
    let mut parts = PathBuf::from("/");
    for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(OsStr::from_bytes(part));
        }
    }
    assert_eq!([b"/", plain.strip_prefix(b"/").unwrap_or_default()].concat(), parts.as_os_str().as_bytes());

    let root = normal(root);
    if !root.is_empty() {
        let below = Path::new(OsStr::from_bytes(&plain)).starts_with(OsStr::from_bytes(&root));
        let only = Scope { only: vec![root.clone()], except: Vec::new() };
        let except = Scope { only: Vec::new(), except: vec![root] };
        assert_eq!((only.contains(&plain), except.contains(&plain)), (below, !below));
    }
}

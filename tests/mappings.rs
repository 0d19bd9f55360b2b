//! --map, --only, --except.

use crate::common::needs::ROOT;
use crate::common::tables::lines_of_type;
use crate::common::{Case, Engine, bare_guest, both, finish, once, stage};

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            the_default_leaves_other_types_alone,
            a_type_with_a_magic_of_its_own_is_shown,
            several_mappings_apply_at_once,
        ),
        both!(&[ROOT]; only_and_except_decide_by_mount_point),
        once!(&[]; faces_of_the_kernel_are_refused_with_the_reason, unknown_types_are_refused_with_a_way_out),
    ]
    .concat()
}

fn the_default_leaves_other_types_alone(engine: Engine) {
    let quiet = stage().quiet();
    let expected = finish(bare_guest("statfs").arg(&quiet)).quiet_success().text();
    assert_eq!(finish(engine.plain().guest("statfs").arg(&quiet)).quiet_success().text(), expected);
    let arguments = ["openat", "/proc/self/mountinfo"];
    let expected = finish(bare_guest("table").args(arguments)).quiet_success();
    assert_eq!(finish(engine.plain().guest("table").args(arguments)).quiet_success().stdout, expected.stdout);
}

fn a_type_with_a_magic_of_its_own_is_shown(engine: Engine) {
    let prefix = engine.plain().options(["--map", "tmpfs=a-type.of-its_own:0x1234abcd"]);
    let seen = finish(prefix.guest("statfs").arg(stage().quiet())).quiet_success().text();
    assert_eq!(seen.matches("cdab341200000000").count(), 2, "{seen}");
    let table = finish(prefix.guest("table").args(["openat", "/proc/self/mounts"])).quiet_success();
    assert!(lines_of_type(&table.stdout, "a-type.of-its_own") > 0);
    assert_eq!(lines_of_type(&table.stdout, "tmpfs"), 0);
}

fn several_mappings_apply_at_once(engine: Engine) {
    let root = lines(&finish(bare_guest("table").args(["openat", "/proc/self/mounts"])).stdout, "/");
    let root_type = root.split(' ').nth(2).unwrap().to_owned();
    let first = format!("{root_type}:{:#x}=xfs", magic_of("/"));
    let prefix = engine.plain().options(["--map", &first, "--map", "tmpfs=btrfs"]);
    let table = finish(prefix.guest("table").args(["openat", "/proc/self/mounts"])).quiet_success();
    assert_eq!(lines(&table.stdout, "/"), root.replacen(&root_type, "xfs", 1));
    assert!(lines_of_type(&table.stdout, "btrfs") > 0 && lines_of_type(&table.stdout, "tmpfs") == 0);
    let types =
        prefix.command("stat").args(["-f", "-c", "%t", "/"]).arg(stage().quiet()).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&types), "58465342\n9123683e\n");
}

fn magic_of(path: &str) -> u64 {
    let seen = finish(crate::common::bare("stat").args(["-f", "-c", "%t", path])).quiet_success().text();
    u64::from_str_radix(seen.trim(), 16).unwrap()
}

/// The last line of `mounts` for a mount point.
fn lines(table: &[u8], mount_point: &str) -> String {
    let text = String::from_utf8_lossy(table);
    text.lines().rfind(|line| line.split(' ').nth(1) == Some(mount_point)).unwrap().to_owned()
}

fn only_and_except_decide_by_mount_point(engine: Engine) {
    let quiet = stage().quiet();
    let quiet = quiet.to_str().unwrap();
    let other = stage().folder.join("none-a");
    let other = other.to_str().unwrap();
    for (option, quiet_is, other_is) in [
        ("--only", "53ef000000000000", "9419020100000000"),
        ("--except", "9419020100000000", "53ef000000000000"),
    ] {
        let prefix = engine.prefix().options([option, quiet]);
        let seen = finish(prefix.guest("statfs").args([quiet, other])).quiet_success().text();
        let types: Vec<&str> = seen.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
        assert_eq!(types, [quiet_is, quiet_is, other_is, other_is], "{option}");
        for table in ["mounts", "mountinfo"] {
            let seen = finish(prefix.guest("table").args(["openat", &format!("/proc/self/{table}")]));
            let (masked, total) = (lines_of_type(&seen.stdout, "ext4"), lines_of_type(&seen.stdout, "tmpfs"));
            if option == "--only" {
                let bare = finish(bare_guest("table").args(["openat", &format!("/proc/self/{table}")]));
                assert_eq!(masked, lines_of_type(&bare.stdout, "ext4") + 1, "{option} {table}");
            } else {
                assert_eq!(total, 1, "{option} {table}");
            }
        }
        if crate::common::needs::STATMOUNT.is_met() {
            let shown = |path| finish(prefix.guest("statmount").arg(path)).success().text();
            assert_eq!(shown(quiet).contains("type ext4"), option == "--only");
            assert_eq!(shown(other).contains("type ext4"), option == "--except");
        }
    }
}

fn faces_of_the_kernel_are_refused_with_the_reason() {
    for fstype in
        ["proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "mqueue", "securityfs", "bpf", "nsfs"]
    {
        let prefix = Engine::Seccomp.plain().options(["--map", &format!("{fstype}=ext4")]);
        let done = finish(&mut prefix.command("true"));
        assert_eq!(done.status.code(), Some(125), "{fstype}");
        assert!(done.errors().contains("a face of the kernel itself"), "{}", done.errors());
    }
    // Nor by the back door.
    let done = finish(&mut Engine::Seccomp.plain().options(["--map", "mine:0x9fa0=ext4"]).command("true"));
    assert_eq!(done.status.code(), Some(125), "{}", done.errors());
}

fn unknown_types_are_refused_with_a_way_out() {
    for (mapping, hint) in [("nosuchfs=ext4", "0x6969"), ("9p", "="), ("9p=ext4:0xzz", "0x"), ("=ext4", "")] {
        let done = finish(&mut Engine::Seccomp.plain().options(["--map", mapping]).command("true"));
        assert_eq!(done.status.code(), Some(125), "{mapping}");
        assert!(done.errors().contains(hint), "{}", done.errors());
    }
}

//! statfs and fstatfs.

use crate::common::run::same_but_masked;
use crate::common::{Case, Engine, bare_guest, both, finish, stage};

pub fn cases() -> Vec<Case> {
    both!(&[];
        the_type_changes_and_no_other_byte,
        other_file_systems_stay_as_they_are,
        errors_are_the_kernels_own,
        coreutils_see_the_other_type,
    )
}

/// `0xEF53`, as eight bytes in memory.
const EXT4: &str = "53ef000000000000";
const TMPFS: &str = "9419020100000000";

fn the_type_changes_and_no_other_byte(engine: Engine) {
    let quiet = stage().quiet();
    let paths = [quiet.to_str().unwrap(), quiet.join("file").to_str().unwrap()].map(str::to_owned);
    let expected = finish(bare_guest("statfs").args(&paths)).quiet_success().text();
    assert_eq!(expected.matches(TMPFS).count(), 4, "{expected}");
    let seen = finish(engine.prefix().guest("statfs").args(&paths)).quiet_success().text();
    assert_eq!(seen, expected.replace(TMPFS, EXT4));
}

fn other_file_systems_stay_as_they_are(engine: Engine) {
    let seen = same_but_masked(engine, "statfs", &["/proc/self/mounts", "/proc", "/sys", "/dev/pts"]);
    assert!(!seen.text().contains(EXT4), "{}", seen.text());
}

fn errors_are_the_kernels_own(engine: Engine) {
    let expected = finish(&mut bare_guest("statfs-errors")).quiet_success().text();
    assert!(expected.contains("Err(14)") && expected.contains("Err(9)"), "{expected}");
    let seen = finish(&mut engine.prefix().guest("statfs-errors")).quiet_success().text();
    // The one call that succeeds, on /dev/shm, is not shown with its struct.
    assert_eq!(seen, expected);
}

fn coreutils_see_the_other_type(engine: Engine) {
    let quiet = stage().quiet();
    let seen = finish(engine.prefix().command("stat").args(["-f", "-c", "%T %t"]).arg(&quiet));
    assert_eq!(seen.quiet_success().text(), "ext2/ext3 ef53\n");
}

//! statmount of Linux 6.8.

use crate::common::needs::{Need, ROOT, STATMOUNT, UNSHARE};
use crate::common::{Case, Engine, bare, bare_guest, both, finish, stage};

const DEVTMPFS: Need = Need::new("devtmpfs", || {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|types| types.contains("devtmpfs"))
});

pub fn cases() -> Vec<Case> {
    [
        both!(&[STATMOUNT]; type_and_magic_change_and_a_small_buffer_overflows),
        both!(&[STATMOUNT, ROOT, UNSHARE, DEVTMPFS]; a_type_that_shares_its_magic_keeps_its_name),
    ]
    .concat()
}

fn type_and_magic_change_and_a_small_buffer_overflows(engine: Engine) {
    let quiet = stage().quiet();
    let expected = finish(bare_guest("statmount").arg(&quiet)).quiet_success().text();
    assert!(expected.contains("type tmpfs") && expected.contains("magic 0x1021994"), "{expected}");
    let seen = finish(engine.prefix().guest("statmount").arg(&quiet)).quiet_success().text();
    assert_eq!(seen, expected.replace("type tmpfs", "type ext4").replace("magic 0x1021994", "magic 0xef53"));
    let native = finish(bare_guest("statmount").arg("/proc")).quiet_success().text();
    assert_eq!(finish(engine.prefix().guest("statmount").arg("/proc")).quiet_success().text(), native);
}

fn a_type_that_shares_its_magic_keeps_its_name(engine: Engine) {
    let folder = stage().scratch("devices");
    let words = engine.prefix().words();
    let show = |prefix: &[std::ffi::OsString]| {
        let mut command = bare("unshare");
        command.args(["-m", "sh", "-c", "mount -t devtmpfs devices \"$0\" && exec \"$@\" \"$0\""]);
        command.arg(&folder).args(prefix).arg(&stage().guest).args(["--guest", "statmount"]);
        finish(&mut command).quiet_success().text()
    };
    let (native, seen) = (show(&[]), show(&words));
    assert!(native.contains("type devtmpfs") && native.contains("magic 0x1021994"), "{native}");
    let same = native.lines().zip(seen.lines()).filter(|(native, seen)| native == seen).count();
    // Only where the name was not asked for, the magic alone says what it is.
    let others: Vec<_> = native.lines().zip(seen.lines()).filter(|(native, seen)| native != seen).collect();
    assert_eq!((same + 1, others.len()), (native.lines().count(), 1), "{seen}");
    assert_eq!(others[0].0.replace("magic 0x1021994", "magic 0xef53"), others[0].1);
}

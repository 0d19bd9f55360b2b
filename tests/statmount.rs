//! statmount of Linux 6.8.

use crate::common::needs::STATMOUNT;
use crate::common::{Case, Engine, bare_guest, both, finish, stage};

pub fn cases() -> Vec<Case> {
    both!(&[STATMOUNT]; type_and_magic_change_and_a_small_buffer_overflows)
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

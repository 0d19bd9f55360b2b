//! 32-bit programs.

use crate::common::needs::CC_M32;
use crate::common::tables::{lines_of_type, masked};
use crate::common::{Case, Engine, bare, both, finish, stage};

pub fn cases() -> Vec<Case> {
    both!(&[CC_M32]; the_type_changes_in_all_forms_of_statfs_and_in_tables)
}

fn the_type_changes_in_all_forms_of_statfs_and_in_tables(engine: Engine) {
    let program = crate::guests::i386_program().unwrap();
    let quiet = stage().quiet();
    for table in ["/proc/self/mountinfo", "/proc/self/mounts"] {
        let expected = finish(bare(&program).arg(&quiet).arg(table)).quiet_success();
        let seen = finish(engine.prefix().command(&program).arg(&quiet).arg(table)).quiet_success();
        let text = String::from_utf8_lossy(&masked(&expected.stdout)).into_owned();
        assert_eq!(text.matches(" 94190201 ").count(), 4, "{text}");
        let expected = text.replace(" 94190201 ", " 53ef0000 ");
        // The table's own struct has the sizes of the file that stands for it: the type is right.
        let without_table = |text: &str| -> Vec<String> {
            text.lines()
                .map(|line| match line.strip_prefix("fstatfs of the table") {
                    Some(rest) => rest.split(' ').nth(4).unwrap().to_owned(),
                    None => line.to_owned(),
                })
                .collect()
        };
        assert_eq!(without_table(&seen.text()), without_table(&expected));
        assert!(lines_of_type(&seen.stdout, "ext4") > 0);
    }
}

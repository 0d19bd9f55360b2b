//! Readers in other languages.

use crate::common::needs::{BUSYBOX, GO, PYTHON};
use crate::common::tables::masked;
use crate::common::{Case, Engine, bare, both, finish, stage};

pub fn cases() -> Vec<Case> {
    [
        both!(&[GO]; go_reads_tables_in_a_hundred_goroutines),
        both!(&[PYTHON]; python_reads_a_table_and_statvfs_stays),
        both!(&[BUSYBOX]; busybox_reads_a_table),
        both!(&[]; df_and_findmnt_agree_with_the_table),
    ]
    .concat()
}

fn go_reads_tables_in_a_hundred_goroutines(engine: Engine) {
    let program = crate::guests::go_program();
    let expected = finish(bare(&program).arg(stage().quiet())).quiet_success();
    let seen = finish(engine.prefix().command(&program).arg(stage().quiet())).quiet_success();
    let expected = String::from_utf8_lossy(&masked(&expected.stdout)).replacen("0x1021994", "0xef53", 1);
    assert!(seen.text().starts_with("0xef53\n"), "{}", &seen.text()[..20]);
    assert_eq!(seen.text(), expected);
}

fn python_reads_a_table_and_statvfs_stays(engine: Engine) {
    let script = "import os,sys\nprint(os.statvfs(sys.argv[1]))\nprint(open('/proc/self/mountinfo', errors='replace').read())\n\
                  f = open('/proc/mounts', 'rb', 0)\nprint(f.readline())\nf.seek(0)\nprint(f.readline())";
    let arguments = ["-c", script];
    let quiet = stage().quiet();
    let expected = finish(bare("python3").args(arguments).arg(&quiet)).quiet_success();
    let seen = finish(engine.prefix().command("python3").args(arguments).arg(&quiet)).quiet_success();
    assert_eq!(seen.text(), String::from_utf8_lossy(&masked(&expected.stdout)));
}

fn busybox_reads_a_table(engine: Engine) {
    let arguments = ["cat", "/proc/self/mountinfo", "/proc/mounts", "/proc/self/mountstats"];
    let expected = finish(bare("busybox").args(arguments)).quiet_success();
    let seen = finish(engine.prefix().command("busybox").args(arguments)).quiet_success();
    assert_eq!(seen.text(), String::from_utf8_lossy(&masked(&expected.stdout)));
}

fn df_and_findmnt_agree_with_the_table(engine: Engine) {
    let quiet = stage().quiet();
    let seen = finish(engine.prefix().command("df").arg("--output=fstype").arg(&quiet)).quiet_success();
    assert_eq!(seen.text(), "Type\next4\n");
    if crate::common::needs::finds("findmnt") && stage().has_mounts {
        let seen = finish(engine.prefix().command("findmnt").args(["-n", "-o", "FSTYPE"]).arg(&quiet));
        assert_eq!(seen.quiet_success().text(), "ext4\n");
    }
}

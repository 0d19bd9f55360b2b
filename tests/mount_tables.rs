//! Mount tables, read in every way that there is.

use crate::common::needs::ROOT;
use crate::common::run::{assert_same_lines, bare_shell, same_but_masked};
use crate::common::tables::{lines_of_type, masked};
use crate::common::{Case, Engine, both, finish, stage};

pub fn cases() -> Vec<Case> {
    let ways = crate::guests::WAYS.into_iter().flat_map(|way| {
        Engine::ALL.map(|engine| {
            let name = format!("mount_tables: the type changes for a reader by {way} [{}]", engine.name());
            Case::made(name, &[], move || {
                read_in_this_way(engine, way);
            })
        })
    });
    let others = [
        both!(&[];
            every_table_of_every_task_is_masked,
            a_shell_reads_a_table_line_by_line,
            a_table_is_inherited_over_exec,
            mtab_is_a_table_too,
            files_that_only_have_a_tables_name_stay,
        ),
        both!(&[ROOT]; odd_mount_points_stay_as_they_were_written, a_long_table_is_complete, a_chroot_has_its_own_table),
    ]
    .concat();
    ways.chain(others).collect()
}

fn read_in_this_way(engine: Engine, way: &str) {
    let seen = same_but_masked(engine, "table", &[way, "/proc/self/mountinfo"]);
    if way != "read-write" {
        assert!(lines_of_type(&seen.stdout, "ext4") > 0 && lines_of_type(&seen.stdout, "tmpfs") == 0);
    }
}

fn every_table_of_every_task_is_masked(engine: Engine) {
    let own = std::process::id();
    for table in ["mountinfo", "mounts", "mountstats"] {
        let folders =
            ["self".to_owned(), format!("{own}"), "thread-self".to_owned(), format!("{own}/task/{own}")];
        // Threads have no mountstats of their own.
        for folder in folders.iter().take(if table == "mountstats" { 2 } else { 4 }) {
            let seen = same_but_masked(engine, "table", &["openat", &format!("/proc/{folder}/{table}")]);
            assert!(lines_of_type(&seen.stdout, "ext4") > 0, "{folder}/{table}");
            assert_eq!(lines_of_type(&seen.stdout, "tmpfs"), 0, "{folder}/{table}");
        }
    }
    same_but_masked(engine, "table", &["openat", "/proc/mounts"]);
    same_but_masked(engine, "table", &["one-byte", "/proc/self/mounts"]);
    same_but_masked(engine, "table", &["thread", "/proc/thread-self/mountinfo"]);
}

fn a_shell_reads_a_table_line_by_line(engine: Engine) {
    let script = "while read -r line; do printf '%s\\n' \"$line\"; done < /proc/mounts";
    let expected = finish(&mut bare_shell(script)).quiet_success();
    let seen = finish(&mut engine.prefix().shell(script)).quiet_success();
    assert!(lines_of_type(&seen.stdout, "ext4") > 0);
    assert_eq!(seen.text(), String::from_utf8_lossy(&masked(&expected.stdout)));
}

fn a_table_is_inherited_over_exec(engine: Engine) {
    let script = "exec 7< /proc/self/mountinfo; head -c 100 <&7 >/dev/null; exec cat <&7";
    let expected = finish(&mut bare_shell("cat /proc/self/mountinfo")).quiet_success();
    let seen = finish(&mut engine.prefix().shell(script)).quiet_success();
    // `head` may have read more than it shows; what is left is the end of the masked table.
    let masked = masked(&expected.stdout);
    assert!(masked.ends_with(&seen.stdout));
    let whole = "exec 7< /proc/self/mountinfo; exec sh -c 'exec cat <&7'";
    assert_eq!(
        finish(&mut engine.prefix().shell(whole)).quiet_success().text(),
        String::from_utf8_lossy(&masked)
    );
}

fn mtab_is_a_table_too(engine: Engine) {
    if std::path::Path::new("/etc/mtab").exists() {
        same_but_masked(engine, "table", &["openat", "/etc/mtab"]);
    }
    // `link` reads through a link of that name.
    same_but_masked(engine, "table", &["link", "/proc/self/mounts"]);
}

fn files_that_only_have_a_tables_name_stay(engine: Engine) {
    let folder = stage().scratch("names");
    for name in ["mountinfo", "mounts", "mountstats", "mtab"] {
        let text = "36 35 98:0 / / rw - tmpfs tmpfs rw\ntmpfs / tmpfs rw 0 0\n";
        std::fs::write(folder.join(name), text).unwrap();
        let path = folder.join(name);
        let seen = finish(engine.prefix().guest("table").arg("openat").arg(&path)).quiet_success();
        assert_eq!(seen.text(), text);
    }
}

fn odd_mount_points_stay_as_they_were_written(engine: Engine) {
    for table in ["mountinfo", "mounts", "mountstats"] {
        let seen = same_but_masked(engine, "table", &["openat", &format!("/proc/self/{table}")]);
        // Guards the test itself: the odd mount points are there.
        for part in
            ["a\\040b\\040-\\040tmpfs\\040c", "new\\012line", "tab\\011here", "back\\134slash", "hash"]
        {
            assert!(seen.text().contains(part), "{part} in {table}");
        }
    }
}

fn a_long_table_is_complete(engine: Engine) {
    let seen = same_but_masked(engine, "table-often", &["5", "/proc/self/mountinfo"]);
    assert!(seen.stdout.len() > 1 << 16, "{} bytes", seen.stdout.len());
    assert!(lines_of_type(&seen.stdout, "ext4") > 800);
}

fn a_chroot_has_its_own_table(engine: Engine) {
    let root = stage().folder.join("root");
    let read = |command: &mut std::process::Command| {
        finish(command.arg(&root).arg("/proc/self/mountinfo")).quiet_success()
    };
    let expected = read(&mut crate::common::bare_guest("table-in-chroot"));
    let seen = read(&mut engine.prefix().guest("table-in-chroot"));
    let expected = String::from_utf8_lossy(&masked(&expected.stdout)).into_owned();
    assert_same_lines(&seen.text(), &expected, "the table in a chroot");
}

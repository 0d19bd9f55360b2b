//! Profiles: files that a machine lacks, and sources.

use crate::common::needs::{ROOT, SETPRIV, UNSHARE};
use crate::common::run::bare_shell;
use crate::common::{Case, Engine, both, finish, once, stage};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

pub fn cases() -> Vec<Case> {
    [
        both!(&[ROOT, SETPRIV];
            a_file_that_may_not_be_opened_is_not_missing,
            a_supplied_file_is_read_by_all_and_written_by_the_launchers_user,
        ),
        both!(&[ROOT, UNSHARE];
            a_supplied_file_is_not_written_where_its_mount_is_read_only,
            a_pattern_with_types_is_for_folders_on_these_and_knows_them_by_other_paths,
        ),
        both!(&[ROOT]; sources_are_unique_per_device_and_device_numbers_stay),
        both!(&[];
            a_missing_file_has_content_and_what_is_written_is_seen_by_all,
            a_pattern_gives_each_file_a_value_of_its_own,
            content_that_may_not_be_written_stays,
            a_supplied_file_is_on_the_file_system_of_its_folder,
            a_stand_in_is_opened_by_its_absolute_path,
            a_stand_in_beside_the_missing_file_is_opened_even_beneath_a_descriptor,
            a_file_that_refuses_writes_keeps_what_was_written,
            a_file_that_is_there_is_the_machines_own,
            no_profile_is_no_rule,
        ),
        once!(&[]; a_printed_profile_can_be_given_back, a_profile_that_makes_no_sense_is_refused),
    ]
    .concat()
}

/// A path that no kernel has, in a folder where nothing can be made.
const MISSING: &str = "/proc/sys/kernel/fsmasq_no_such_parameter";

fn profile(rules: &str) -> PathBuf {
    let path = stage().scratch("profile").join("profile.toml");
    std::fs::write(&path, format!("version = 1\nname = \"test\"\n{rules}\n")).unwrap();
    path
}

fn under(engine: Engine, rules: &str, script: &str) -> Command {
    let path = profile(rules);
    let mut command = Command::new(&stage().launcher);
    command.args(["--map", "tmpfs=ext4", "--profile"]).arg(path);
    command.arg(engine.option());
    command.args(["--", "sh", "-c", script]).env_remove("FSMASQ_LOG");
    command
}

fn sources_are_unique_per_device_and_device_numbers_stay(engine: Engine) {
    for table in ["mountinfo", "mounts", "mountstats"] {
        let script = format!("cat /proc/self/{table}");
        let bare = finish(&mut bare_shell(&script)).quiet_success();
        let expected = String::from_utf8_lossy(&crate::common::masked(&bare.stdout)).into_owned();
        let seen = finish(&mut under(engine, "[source]\nunique = true", &script)).quiet_success().text();
        assert_eq!(seen.lines().count(), expected.lines().count());
        let devices = devices();
        for ((seen, expected), device) in seen.lines().zip(expected.lines()).zip(devices) {
            if seen == expected {
                continue;
            }
            // Only the source differs, and it is that of the device.
            let (was, is) = words(expected)
                .into_iter()
                .zip(words(seen))
                .find(|(expected, seen)| expected != seen)
                .unwrap();
            assert_eq!(is, format!("/dev/fsmasq-{}", device.replace(':', "-")), "{seen}");
            assert_eq!(seen.replacen(is, was, 1), expected);
        }
        let source = |name: &str| {
            let at = stage().folder.join(name);
            let line = seen.lines().find(|line| words(line).contains(&at.to_str().unwrap())).unwrap();
            words(line).into_iter().find(|w| w.starts_with("/dev/fsmasq-")).map(str::to_owned)
        };
        assert!(source("none-a").is_some() && source("none-a") != source("none-b"), "{table}");
        assert_eq!(source("none-a"), source("none-a-again"), "{table}: one device, one source");
        assert_eq!(source("quiet"), None, "{table}: its own source was unique");
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The devices of all mounts, in the order of the tables.
fn devices() -> Vec<String> {
    let table = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
    table.lines().map(|line| words(line)[2].to_owned()).collect()
}

fn a_missing_file_has_content_and_what_is_written_is_seen_by_all(engine: Engine) {
    let rules =
        format!("[[file]]\npath = \"{MISSING}\"\nwhen = \"missing\"\ncontent = \"5\"\nwritable = true");
    let script = format!(
        "cat {MISSING}; sh -c 'echo 17 > {MISSING}'; cat {MISSING}; printf 3 > {MISSING}; sh -c 'cat {MISSING}'; \
         cd /proc/sys/kernel; cat ../kernel/./fsmasq_no_such_parameter; read x < fsmasq_no_such_parameter; echo $x"
    );
    let seen = finish(&mut under(engine, &rules, &script)).quiet_success();
    assert_eq!(seen.text(), "5\n17\n3\n3\n3\n");
    // It is there for those below only, and for this launch only.
    assert!(!std::path::Path::new(MISSING).exists());
    assert_eq!(finish(&mut under(engine, &rules, &format!("cat {MISSING}"))).quiet_success().text(), "5\n");
}

fn a_pattern_gives_each_file_a_value_of_its_own(engine: Engine) {
    let rules =
        "[[file]]\npath = \"**/fsmasq_no_such\"\nwhen = \"missing\"\ncontent = \"0\"\nwritable = true";
    let script = format!(
        "cd /proc/sys; echo 1 > kernel/fsmasq_no_such; cat kernel/fsmasq_no_such vm/fsmasq_no_such; \
         '{guest}' --guest table path-only-again /proc/sys/kernel/fsmasq_no_such",
        guest = stage().guest.display()
    );
    assert_eq!(finish(&mut under(engine, rules, &script)).quiet_success().text(), "1\n0\n1\n");
}

fn content_that_may_not_be_written_stays(engine: Engine) {
    let rules = format!("[[file]]\npath = \"{MISSING}\"\nwhen = \"missing\"\ncontent = \"fixed\"");
    let script = format!("cat {MISSING}; (echo 1 > {MISSING}) 2>/dev/null || echo refused; cat {MISSING}");
    assert_eq!(finish(&mut under(engine, &rules, &script)).quiet_success().text(), "fixed\nrefused\nfixed\n");
}

fn a_supplied_file_is_on_the_file_system_of_its_folder(engine: Engine) {
    let file = "/sys/kernel/fsmasq_no_such_file";
    let rules = format!("[[file]]\npath = \"{file}\"\nwhen = \"missing\"\ncontent = \"1\"");
    let script = format!("{} --guest statfs {file}", stage().guest.display());
    let seen = finish(&mut under(engine, &rules, &script)).quiet_success().text();
    let answer = seen.lines().find(|line| line.starts_with("fstatfs ")).unwrap_or_default();
    // SYSFS_MAGIC (linux/magic.h), in memory's order.
    assert!(answer.starts_with(&format!("fstatfs {file} Ok(0) 7265656200000000 ")), "{seen}");
}

fn a_stand_in_is_opened_by_its_absolute_path(engine: Engine) {
    let rules = "[[file]]\npath = \"/proc/fsmasq_no_such_log\"\nwhen = \"missing\"\nstand-in = \"/dev/null\"";
    let script = "wc -c < /proc/fsmasq_no_such_log; exec 5< /proc/fsmasq_no_such_log; readlink /proc/$$/fd/5";
    assert_eq!(finish(&mut under(engine, rules, script)).quiet_success().text(), "0\n/dev/null\n");
}

fn a_stand_in_beside_the_missing_file_is_opened_even_beneath_a_descriptor(engine: Engine) {
    let rules = "[[file]]\npath = \"**/figure.percpu\"\nwhen = \"missing\"\nstand-in = \"figure\"";
    let folder = stage().scratch("beside");
    std::fs::create_dir_all(folder.join("group/inner")).unwrap();
    std::fs::write(folder.join("group/figure"), "4711\n").unwrap();
    std::fs::write(folder.join("group/inner/figure"), "42\n").unwrap();
    std::fs::create_dir(folder.join("group/linked")).unwrap();
    std::fs::write(folder.join("outside"), "secret\n").unwrap();
    std::os::unix::fs::symlink("../../outside", folder.join("group/linked/figure")).unwrap();
    let script = format!(
        "cat {folder}/group/figure.percpu; cd {folder}/group; cat figure.percpu inner/figure.percpu; \
         {guest} --guest openat2-beneath {folder} group/figure.percpu; \
         {guest} --guest openat2-beneath {folder}/group figure.percpu; \
         {guest} --guest openat2-beneath {folder}/group ../group/figure.percpu; \
         {guest} --guest openat2-beneath {folder} figure.percpu; \
         {guest} --guest openat2-beneath {folder}/group linked/figure.percpu",
        folder = folder.display(),
        guest = stage().guest.display()
    );
    let seen = finish(&mut under(engine, rules, &script)).quiet_success();
    // EXDEV for the way out of the folder; ENOENT where the stand-in is missing as well, or leads out.
    assert_eq!(seen.text(), "4711\n4711\n42\n4711\n4711\nerrno 18\nerrno 2\nerrno 2\n");
}

fn a_file_that_refuses_writes_keeps_what_was_written(engine: Engine) {
    // A map of users is written once, before anything else; for the first namespace, never.
    let path = "/proc/self/uid_map";
    let script = format!("cat {path}; echo '0 1 1' > {path} && echo written; cat {path}; sh -c 'cat {path}'");
    let rules = format!("[[file]]\npath = \"{path}\"\nwhen = \"write-fails\"");
    let native = std::fs::read_to_string(path).unwrap();
    let refused = finish(&mut bare_shell(&script));
    assert!(!refused.text().contains("written"), "this kernel takes the write");
    let seen = finish(&mut under(engine, &rules, &script)).quiet_success();
    assert_eq!(seen.text(), format!("{native}written\n0 1 1\n0 1 1\n"));
}

fn a_file_that_is_there_is_the_machines_own(engine: Engine) {
    let file = stage().scratch("there").join("file");
    std::fs::write(&file, "real\n").unwrap();
    let path = file.to_str().unwrap();
    for rules in [
        format!("[[file]]\npath = \"{path}\"\nwhen = \"missing\"\ncontent = \"made up\"\nwritable = true"),
        format!("[[file]]\npath = \"{path}\"\nwhen = \"missing\"\nstand-in = \"/dev/null\""),
        format!("[[file]]\npath = \"{path}\"\nwhen = \"write-fails\""),
    ] {
        std::fs::write(&file, "real\n").unwrap();
        let script = format!("cat {path}; echo new > {path}; cat {path}");
        assert_eq!(finish(&mut under(engine, &rules, &script)).quiet_success().text(), "real\nnew\n");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new\n", "{rules}");
    }
}

fn a_file_that_may_not_be_opened_is_not_missing(engine: Engine) {
    let folder = stage().scratch("refused");
    let file = folder.join("fsmasq_no_such");
    std::fs::write(&file, "real\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let rules =
        "[[file]]\npath = \"**/fsmasq_no_such\"\nwhen = \"missing\"\ncontent = \"0\"\nwritable = true";
    let script = format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \"\
           '{guest}' --guest table read-write '{file}'; echo; (echo 1 > '{file}') 2> /dev/null || echo refused; \
           (cat < '{file}') 2> /dev/null || echo refused\"; \
         cat '{file}'",
        guest = stage().guest.display(),
        file = file.display()
    );
    let expected = finish(&mut bare_shell(&script)).quiet_success().text();
    assert_eq!(expected, "errno 13\nrefused\nrefused\nreal\n");
    let seen = finish(&mut under(engine, rules, &script)).quiet_success();
    assert_eq!(seen.text(), expected);
    // The rule is in force: beside it, nothing is there.
    std::fs::remove_file(&file).unwrap();
    let script = format!("cat '{}'", file.display());
    assert_eq!(finish(&mut under(engine, rules, &script)).quiet_success().text(), "0\n");
}

fn a_supplied_file_is_read_by_all_and_written_by_the_launchers_user(engine: Engine) {
    let rules =
        format!("[[file]]\npath = \"{MISSING}\"\nwhen = \"missing\"\ncontent = \"5\"\nwritable = true");
    // As a parameter that is there.
    let script = |path: &str| {
        format!(
            "nobody() {{ setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"; }}; \
             nobody cat {path} > /dev/null && echo read; nobody '{guest}' --guest table read-write {path}; echo; \
             nobody sh -c '(echo 1 > {path}) 2> /dev/null || echo refused'",
            guest = stage().guest.display()
        )
    };
    let native = finish(&mut bare_shell(&script("/proc/sys/kernel/panic"))).quiet_success().text();
    assert_eq!(native, "read\nerrno 13\nrefused\n");
    let script = script(MISSING) + &format!("; cat {MISSING}; echo 6 > {MISSING}; cat {MISSING}");
    assert_eq!(finish(&mut under(engine, &rules, &script)).quiet_success().text(), native + "5\n6\n");
}

fn a_supplied_file_is_not_written_where_its_mount_is_read_only(engine: Engine) {
    let rules =
        format!("[[file]]\npath = \"{MISSING}\"\nwhen = \"missing\"\ncontent = \"5\"\nwritable = true");
    // As container runtimes do it.
    let script = |path: &str| {
        format!(
            "unshare -m sh -c \"mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
             cat {path} > /dev/null && echo read; '{guest}' --guest table read-write {path}; echo; \
             (echo 1 > {path}) 2> /dev/null || echo refused\"",
            guest = stage().guest.display()
        )
    };
    let native = finish(&mut bare_shell(&script("/proc/sys/kernel/panic"))).quiet_success().text();
    assert_eq!(native, "read\nerrno 30\nrefused\n");
    let script = script(MISSING) + &format!("; cat {MISSING}");
    assert_eq!(finish(&mut under(engine, &rules, &script)).quiet_success().text(), native + "5\n");
}

fn a_pattern_with_types_is_for_folders_on_these_and_knows_them_by_other_paths(engine: Engine) {
    let rules = "[[file]]\npath = \"**/fsmasq_no_such\"\non = [\"proc\"]\nwhen = \"missing\"\ncontent = \"0\"\n\
                 writable = true";
    // Two containers, each with a folder of its own at the same place.
    let script = format!(
        "cd '{}'; cat fsmasq_no_such 2> /dev/null || echo missing; \
         unshare -m sh -c 'mount --bind /proc/sys/kernel . && cd \"$PWD\" && echo 1 > fsmasq_no_such; \
           cat fsmasq_no_such'; \
         unshare -m sh -c 'mount --bind /proc/sys/vm . && cat \"$PWD/fsmasq_no_such\"'; \
         cat /proc/sys/kernel/fsmasq_no_such; cd /proc/sys/kernel; cat fsmasq_no_such ../vm/fsmasq_no_such",
        stage().scratch("on").display()
    );
    let seen = finish(&mut under(engine, rules, &script)).quiet_success();
    assert_eq!(seen.text(), "missing\n1\n0\n1\n1\n0\n");
}

fn no_profile_is_no_rule(engine: Engine) {
    let script = format!("cat {MISSING} 2>/dev/null || echo missing");
    assert_eq!(finish(&mut engine.prefix().shell(&script)).quiet_success().text(), "missing\n");
}

fn print(profile: &str) -> String {
    let mut command = Command::new(&stage().launcher);
    finish(command.args(["--profile", profile, "--print-profile"])).quiet_success().text()
}

fn a_printed_profile_can_be_given_back() {
    for name in ["gvisor", "none"] {
        let printed = print(name);
        let file = stage().scratch("printed").join("profile.toml");
        std::fs::write(&file, &printed).unwrap();
        assert_eq!(print(file.to_str().unwrap()), printed);
    }
    assert!(print("gvisor").contains("/dev/kmsg") && print("gvisor").contains("unique = true"));
}

fn a_profile_that_makes_no_sense_is_refused() {
    for (text, part) in [
        ("[[file]]\npath = \"relative\"\nwhen = \"missing\"\ncontent = \"\"", "absolute"),
        ("[[file]]\npath = \"/x\"\nwhen = \"missing\"", "needs `content`"),
        ("nonsense = 1", "nonsense"),
        ("[[file]", "TOML"),
    ] {
        let done = finish(&mut under(Engine::Seccomp, text, "true"));
        assert_eq!(done.status.code(), Some(125), "{text}");
        assert!(done.errors().contains(part), "{part}: {}", done.errors());
    }
}

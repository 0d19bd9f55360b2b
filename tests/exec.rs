//! Programs executed in every way, and by programs that may do more or less than others.

use crate::common::needs::{Need, ROOT, SETPRIV, UNSHARE, USER_NAMESPACES, finds};
use crate::common::run::assert_same_lines;
use crate::common::tables::masked;
use crate::common::{Case, Done, Engine, bare, both, finish, stage};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SETCAP: Need = Need::new("setcap (libcap2-bin), and a tmpfs that keeps capabilities", || {
    finds("setcap") && stage().has_mounts && with_capability("setcap-works").is_some()
});
const BINFMT: Need = Need::new("binfmt_misc in user namespaces (Linux 6.7)", || {
    finds("unshare")
        && Command::new("unshare")
            .args(["-Urm", "mount", "-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc"])
            .output()
            .is_ok_and(|done| done.status.success())
});

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            programs_without_a_path_are_executed_by_their_descriptor,
            scripts_are_executed_by_their_descriptor_and_by_chains_of_interpreters,
            an_exec_that_fails_leaves_the_program_as_it_was,
            a_thread_beside_three_hundred_others_executes_a_program,
            a_thread_whose_leader_has_ended_executes_a_program,
            a_program_that_forbids_its_dump_reads_tables,
        ),
        both!(&[ROOT, SETPRIV];
            a_program_that_may_not_be_read_is_executed,
            without_privilege_a_program_that_forbids_its_dump_is_not_broken,
            without_privilege_a_program_that_may_not_be_read_is_not_broken,
        ),
        both!(&[ROOT, SETPRIV, SETCAP]; a_programs_file_capabilities_are_its_own),
        both!(&[USER_NAMESPACES, UNSHARE, BINFMT]; a_format_that_is_registered_runs_its_interpreter),
    ]
    .concat()
}

const TABLE: &str = "/proc/self/mounts";

/// Executes in this way, bare and below the prefix, each in a folder of its own of the same name.
#[track_caller]
fn same(engine: Engine, way: &str) -> Done {
    let run = |mut command: Command| {
        let scratch = stage().scratch("exec");
        let folder = scratch.parent().unwrap().join(format!("exec-{way}-{}", engine.name()));
        std::fs::rename(&scratch, &folder).unwrap();
        let done = finish(command.args([way, folder.to_str().unwrap(), TABLE]));
        std::fs::remove_dir_all(folder).unwrap();
        done.quiet_success()
    };
    let expected = run(crate::common::bare_guest("exec"));
    let seen = run(engine.prefix().guest("exec"));
    let text = String::from_utf8_lossy(&masked(&expected.stdout)).into_owned();
    assert!(!text.is_empty());
    let descriptor = |text: &str| text.replace("a type that tmpfs has: 1", "a type that tmpfs has: 0");
    assert_same_lines(&descriptor(&seen.text()), &descriptor(&text), way);
    seen
}

fn programs_without_a_path_are_executed_by_their_descriptor(engine: Engine) {
    for way in ["memfd", "path-only", "by-descriptor-name"] {
        assert!(same(engine, way).text().contains("Threads:\t1\n"));
    }
}

fn scripts_are_executed_by_their_descriptor_and_by_chains_of_interpreters(engine: Engine) {
    assert!(same(engine, "script-by-descriptor").text().starts_with("/dev/fd/"));
    assert_eq!(same(engine, "script-by-descriptor-that-is-closed").text(), "execveat: -2\n");
    assert!(same(engine, "interpreters").text().contains("Threads:\t1\n"));
    assert_eq!(same(engine, "too-many-interpreters").text(), "execve: -40\n");
}

fn an_exec_that_fails_leaves_the_program_as_it_was(engine: Engine) {
    let seen = same(engine, "failures").text();
    for line in ["nothing: -2\n", "nonsense: -8\n", "open for writing: -26\n", "many arguments: -7\n"] {
        assert!(seen.contains(line), "{seen}");
    }
}

fn a_thread_beside_three_hundred_others_executes_a_program(engine: Engine) {
    for _ in 0..3 {
        assert!(same(engine, "thread").text().contains("Threads:\t1\n"));
    }
}

fn a_thread_whose_leader_has_ended_executes_a_program(engine: Engine) {
    for _ in 0..3 {
        assert!(same(engine, "thread-without-leader").text().contains("Threads:\t1\n"));
    }
}

fn a_program_that_forbids_its_dump_reads_tables(engine: Engine) {
    if stage().has_mounts {
        let quiet = stage().quiet();
        same_but_magic(engine, &[], &["exec", "not-dumpable", quiet.to_str().unwrap(), TABLE], false);
    } else {
        same(engine, "not-dumpable");
    }
}

/// The words in front of both, then the guest: the same but for the type; where `may_refuse`, the kernel's
/// table with a warning will do, since an unprivileged tracer can't look into what may not be dumped.
#[track_caller]
fn same_but_magic(engine: Engine, outside: &[&str], guest: &[&str], may_refuse: bool) {
    let program: OsString = stage().guest.clone().into();
    same_program(engine, outside, &program, guest, may_refuse);
}

#[track_caller]
fn same_program(engine: Engine, outside: &[&str], program: &OsStr, guest: &[&str], may_refuse: bool) {
    let run = |words: Vec<OsString>| {
        let mut command = bare(&words[0]);
        finish(command.args(&words[1..]).arg("--guest").args(guest).env("RUST_BACKTRACE", "0"))
    };
    let outside: Vec<OsString> = outside.iter().map(OsString::from).collect();
    let program = vec![program.to_owned()];
    let expected = run([outside.clone(), program.clone()].concat()).quiet_success().text();
    let seen = run([outside, engine.prefix().words(), program].concat());
    assert!(seen.status.success(), "{}: {}", seen.status, seen.errors());
    let type_of = |text: &str| text.replace("a type that tmpfs has: 1", "a type that tmpfs has: 0");
    let no_privileges = |text: &str| text.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0");
    let said = no_privileges(&type_of(&seen.text()));
    let expected = no_privileges(&type_of(&expected));
    if may_refuse && said == expected {
        assert!(seen.errors().contains("WARN"), "{}", seen.errors());
        return;
    }
    let masked = String::from_utf8_lossy(&masked(expected.as_bytes())).into_owned();
    assert_same_lines(&said, &masked, &guest.join(" "));
    assert_eq!(seen.errors(), "");
}

/// setpriv itself executes with all that root may; env then with nothing.
const NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"];

/// A copy of the guest.
fn copy(name: &str, mode: u32) -> PathBuf {
    let program = stage().scratch(name).join("guest");
    std::fs::copy(&stage().guest, &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(mode)).unwrap();
    program
}

/// Below a privileged tracer, by an unprivileged user.
fn as_nobody_inside(engine: Engine, program: &Path) {
    let guest = ["--guest", "privileges", TABLE];
    let mut command = bare(NOBODY[0]);
    let expected = finish(command.args(&NOBODY[1..]).arg(program).args(guest)).quiet_success();
    let mut command = engine.prefix().command(NOBODY[0]);
    let seen = finish(command.args(&NOBODY[1..]).arg(program).args(guest)).quiet_success();
    assert_same_lines(&seen.text(), &String::from_utf8_lossy(&masked(&expected.stdout)), "as nobody");
}

fn a_program_that_may_not_be_read_is_executed(engine: Engine) {
    as_nobody_inside(engine, &copy("unreadable", 0o111));
}

fn without_privilege_a_program_that_may_not_be_read_is_not_broken(engine: Engine) {
    let program = copy("unreadable", 0o111);
    same_program(engine, &NOBODY, program.as_os_str(), &["privileges", TABLE], true);
}

fn without_privilege_a_program_that_forbids_its_dump_is_not_broken(engine: Engine) {
    let quiet = stage().quiet();
    same_but_magic(engine, &NOBODY, &["exec", "not-dumpable", quiet.to_str().unwrap(), TABLE], true);
}

fn with_capability(name: &str) -> Option<PathBuf> {
    let program = copy(name, 0o755);
    let done = Command::new("setcap").arg("cap_net_raw+ep").arg(&program).output().ok()?;
    done.status.success().then_some(program)
}

fn a_programs_file_capabilities_are_its_own(engine: Engine) {
    let program = with_capability("capabilities").unwrap();
    as_nobody_inside(engine, &program);
    let mut command = engine.prefix().command(NOBODY[0]);
    command.args(&NOBODY[1..]).arg(&program).args(["--guest", "privileges", TABLE]);
    let text = finish(&mut command).quiet_success().text();
    assert!(text.contains("CapEff:\t0000000000002000\n"), "{text}");
}

fn a_format_that_is_registered_runs_its_interpreter(engine: Engine) {
    let folder = stage().scratch("format");
    let program = folder.join("program.fsmasq-test");
    std::fs::write(&program, "no format that the kernel knows\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let interpreter = folder.join("interpreter");
    std::fs::write(
        &interpreter,
        "#!/bin/sh\nstat -f -c %t /dev/shm > /dev/null\ncat \"$1\" /proc/self/mounts\n",
    )
    .unwrap();
    std::fs::set_permissions(&interpreter, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && \
                  echo \":fsmasq-test:E::fsmasq-test::$2:\" > /proc/sys/fs/binfmt_misc/register && exec \"$1\"";
    let run = |mut command: Command| {
        let words = ["-Urm", "sh", "-c", script, "sh"];
        finish(command.args(words).arg(&program).arg(&interpreter)).quiet_success()
    };
    let expected = run(bare("unshare"));
    let seen = run(engine.prefix().command("unshare"));
    assert!(seen.text().starts_with("no format that the kernel knows\n"), "{}", seen.text());
    assert_same_lines(&seen.text(), &String::from_utf8_lossy(&masked(&expected.stdout)), "a format");
}

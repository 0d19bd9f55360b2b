//! What stands in the way is named, with a way out.

use crate::common::needs::{ROOT, SETPRIV, STRACE, UNSHARE};
use crate::common::tables::masked;
use crate::common::{Case, Done, Engine, bare_guest, both, finish, once, stage};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

pub fn cases() -> Vec<Case> {
    [
        once!(&[];
            a_program_that_is_not_found_is_127,
            what_cannot_be_executed_is_126_and_why,
            the_launchers_own_failures_are_125,
            a_prefix_below_a_prefix_says_to_leave_one_out,
        ),
        once!(&[STRACE]; a_prefix_below_strace_names_it),
        both!(&[ROOT, SETPRIV];
            an_unprivileged_user_is_served,
            a_folder_of_path_that_may_not_be_searched_hides_no_program,
        ),
        both!(&[ROOT, UNSHARE]; without_proc_statfs_is_rewritten_and_the_rest_said),
        both!(&[]; a_script_without_a_first_line_runs_in_a_shell),
    ]
    .concat()
}

fn run(program: impl AsRef<std::ffi::OsStr>) -> Done {
    finish(&mut Engine::Seccomp.prefix().command(program))
}

#[track_caller]
fn assert_fails(done: &Done, status: i32, parts: &[&str]) {
    let errors = done.errors();
    assert_eq!(done.status.code(), Some(status), "{errors}");
    for part in parts {
        assert!(errors.contains(part), "no `{part}` in: {errors}");
    }
    assert!(errors.starts_with("fsmasq: ") || errors.starts_with("error: "), "{errors}");
}

fn a_program_that_is_not_found_is_127() {
    let mut command = Engine::Seccomp.prefix().command("no-such-program");
    assert_fails(
        &finish(command.env("PATH", "/usr/bin:/bin")),
        127,
        &["no-such-program", "not found in PATH"],
    );
    assert_fails(&run("./no/such"), 127, &["./no/such", "not found"]);
    assert_fails(&run(""), 127, &["not found"]);
    let mut command = Engine::Seccomp.prefix().command("ls");
    assert_fails(&finish(command.env("PATH", "/nowhere")), 127, &["not found in PATH"]);
}

fn file(name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = stage().scratch("programs").join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn what_cannot_be_executed_is_126_and_why() {
    let mut header = vec![0u8; 120];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 2), (18, 183), (20, 1), (32, 64), (52, 64), (54, 56)] {
        header[at] = value;
    }
    assert_fails(&run(file("foreign", &header, 0o755)), 126, &["another machine (aarch64)", "x86_64"]);
    assert_fails(&run(file("script", b"#!/no/such/interpreter -x\n", 0o755)), 126, &["/no/such/interpreter"]);
    assert_fails(&run(file("plain", b"#!/bin/sh\necho no\n", 0o644)), 126, &["permission denied", "chmod"]);
    assert_fails(&run("/"), 126, &["directory"]);
    header[18] = 62;
    header[20] = 9;
    assert_fails(&run(file("damaged", &header[..40], 0o755)), 126, &["damaged"]);
}

fn the_launchers_own_failures_are_125() {
    let mut launcher = Command::new(&stage().launcher);
    assert_eq!(finish(&mut launcher).status.code(), Some(125), "no arguments");
    let with = |options: &[&str]| finish(Command::new(&stage().launcher).args(options));
    assert_fails(&with(&["--profile", "none"]), 125, &["no command"]);
    assert_fails(&with(&["--no-such-option", "true"]), 125, &["--no-such-option"]);
    assert_fails(&with(&["--profile", "/no/such/profile", "true"]), 125, &["/no/such/profile"]);
    assert_fails(&with(&["--log-file", "/no/such/folder/log", "true"]), 125, &["/no/such/folder/log"]);
    assert_fails(&with(&["--only", "relative", "true"]), 125, &["absolute"]);
    assert_fails(&with(&["--log-format", "xml", "true"]), 125, &["xml", "json"]);
    let help = with(&["--help"]);
    assert!(help.status.success() && help.text().contains("--map") && help.errors().is_empty());
    assert!(with(&["--version"]).text().starts_with("fsmasq "));
}

fn a_prefix_below_a_prefix_says_to_leave_one_out() {
    let mut command = Engine::Seccomp.prefix().command(&stage().launcher);
    assert_fails(&finish(command.arg("true")), 125, &["traced already", "fsmasq", "leave out"]);
}

fn a_prefix_below_strace_names_it() {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(Engine::Seccomp.prefix().words()).arg("true");
    assert_fails(&finish(&mut command), 125, &["traced already", "strace"]);
}

fn an_unprivileged_user_is_served(engine: Engine) {
    let path = "/proc/self/mountinfo";
    let expected = finish(bare_guest("table").args(["openat", path])).quiet_success();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(engine.prefix().words());
    command.arg(&stage().guest).args(["--guest", "table", "openat", path]);
    let seen = finish(&mut command).quiet_success();
    assert_eq!(seen.text(), String::from_utf8_lossy(&masked(&expected.stdout)));
}

fn a_folder_of_path_that_may_not_be_searched_hides_no_program(engine: Engine) {
    let locked = stage().scratch("locked");
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    let unprivileged = |words: Vec<std::ffi::OsString>| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(words);
        let path = format!("{}:{}:/usr/bin:/bin", locked.display(), stage().folder.join("bin").display());
        command.env("PATH", path);
        command
    };
    let program = ["guest", "--guest", "ids"];
    let expected = finish(unprivileged(Vec::new()).args(program)).quiet_success().text();
    assert_eq!(expected, "65534 65534\n");
    let words = engine.prefix().words();
    assert_eq!(finish(unprivileged(words.clone()).args(program)).quiet_success().text(), expected);
    // Nothing was found, and somewhere it was not allowed to look.
    let missing = finish(unprivileged(words).arg("no-such-program"));
    let locked = locked.to_str().unwrap();
    assert_fails(&missing, 126, &["no-such-program", "not found in PATH", locked]);
    assert!(!missing.errors().contains(&format!("{locked}/no-such-program")), "{}", missing.errors());
    assert!(!missing.errors().contains("found in PATH, but"), "{}", missing.errors());
}

fn without_proc_statfs_is_rewritten_and_the_rest_said(engine: Engine) {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "umount -l /proc && exec \"$@\"", "sh"]).args(engine.prefix().words());
    command.args(["stat", "-f", "-c", "%t", "/dev/shm"]);
    let done = finish(&mut command).success();
    assert_eq!(done.text(), "ef53\n");
    assert!(done.errors().contains("/proc") && done.errors().contains("mount -t proc"), "{}", done.errors());
}

fn a_script_without_a_first_line_runs_in_a_shell(engine: Engine) {
    let script = file("script", b"stat -f -c %t /dev/shm; echo \"$0 $1\"\n", 0o755);
    let done = finish(engine.prefix().command(&script).arg("argument")).quiet_success();
    assert_eq!(done.text(), format!("ef53\n{} argument\n", script.display()));
}

//! Mount, PID and user namespaces; being PID 1 of one.

use crate::common::needs::{ROOT, UNSHARE, USER_NAMESPACES};
use crate::common::run::{Done, signal_of};
use crate::common::tables::lines_of_type;
use crate::common::{Case, Engine, Prefix, bare, both, finish, stage};
use std::process::Command;

pub fn cases() -> Vec<Case> {
    [
        both!(&[ROOT, UNSHARE];
            a_new_mount_namespace_has_a_masked_table,
            a_new_pid_namespace_has_a_masked_table,
            a_mount_made_below_is_in_the_next_table,
            the_command_can_be_pid_1_of_a_namespace,
            the_exit_status_of_pid_1_is_the_namespaces,
            pid_1_that_crashes_dies,
            pid_1_meets_no_child_that_it_did_not_make,
            a_proc_mounted_later_does_not_lead_the_tracer_astray,
        ),
        both!(&[USER_NAMESPACES]; a_new_user_namespace_has_a_masked_table),
    ]
    .concat()
}

fn masked_below(prefix: &Prefix, words: &[&str]) {
    let mut command = prefix.command(words[0]);
    command.args(&words[1..]).arg(&stage().guest).args([
        "--guest",
        "table",
        "openat",
        "/proc/self/mountinfo",
    ]);
    let seen = finish(&mut command).quiet_success();
    assert!(lines_of_type(&seen.stdout, "ext4") > 0, "{}", seen.text());
    assert_eq!(lines_of_type(&seen.stdout, "tmpfs"), 0, "{}", seen.text());
}

fn a_new_mount_namespace_has_a_masked_table(engine: Engine) {
    masked_below(&engine.prefix(), &["unshare", "-m"]);
}

fn a_new_pid_namespace_has_a_masked_table(engine: Engine) {
    masked_below(&engine.prefix(), &["unshare", "-pf", "--mount-proc"]);
    // With the /proc of the old one.
    masked_below(&engine.prefix(), &["unshare", "-pf"]);
}

fn a_mount_made_below_is_in_the_next_table(engine: Engine) {
    let script = "mount -t tmpfs new-one \"$1\" && grep -c '^new-one .* ext4 ' /proc/mounts; grep -c '^new-one ' /proc/self/mounts; \
                  umount \"$1\"; grep -c '^new-one ' /proc/self/mounts";
    let folder = stage().scratch("new-mount");
    let mut command = engine.prefix().command("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(folder);
    let done = finish(&mut command);
    assert_eq!((done.text().as_str(), done.errors().as_str()), ("1\n1\n0\n", ""));
}

fn a_new_user_namespace_has_a_masked_table(engine: Engine) {
    masked_below(&engine.prefix(), &["unshare", "-Urm"]);
    masked_below(&engine.prefix(), &["unshare", "-Urpfm", "--mount-proc"]);
}

/// Runs the prefix as PID 1 of a namespace.
fn as_pid_1(engine: Engine, words: &[&str]) -> Done {
    let mut command = Command::new("unshare");
    command.args(["-pf", "--mount-proc", "--kill-child"]).args(engine.prefix().words()).args(words);
    finish(&mut command)
}

fn the_command_can_be_pid_1_of_a_namespace(engine: Engine) {
    let script = "echo $$; stat -f -c %t /dev/shm; (sh -c 'true' &); grep -c ext4 /proc/self/mounts > /dev/null && echo masked; wait";
    let done = as_pid_1(engine, &["sh", "-c", script]).quiet_success();
    assert_eq!(done.text(), "1\nef53\nmasked\n");
}

fn the_exit_status_of_pid_1_is_the_namespaces(engine: Engine) {
    assert_eq!(as_pid_1(engine, &["sh", "-c", "exit 42"]).status.code(), Some(42));
    assert_eq!(as_pid_1(engine, &["no such program"]).status.code(), Some(127));
}

fn pid_1_that_crashes_dies(engine: Engine) {
    let guest = stage().guest.to_str().unwrap();
    let done = as_pid_1(engine, &[guest, "--guest", "crash"]);
    // unshare dies of the signal that its child died of, or says it by its exit status.
    let by_signal =
        signal_of(&done) == Some(libc::SIGSEGV) || done.status.code() == Some(128 + libc::SIGSEGV);
    assert!(by_signal, "{} {}", done.status, done.errors());
}

fn pid_1_meets_no_child_that_it_did_not_make(engine: Engine) {
    let guest = stage().guest.to_str().unwrap();
    let words = [guest, "--guest", "wait-for-any"];
    let mut native = bare("unshare");
    native.args(["-pf", "--mount-proc", "--kill-child"]).args(words);
    let expected = finish(&mut native).quiet_success().text();
    assert_eq!(expected, "wait4 with 1: Err(10)\nwait4 with 0: Err(10)\n");
    assert_eq!(as_pid_1(engine, &words).quiet_success().text(), expected);
    // A child of its own is the only one that it meets.
    let own = as_pid_1(engine, &["sh", "-c", "sh -c 'exit 5' & wait $!; echo $?; wait; echo none"]);
    assert_eq!(own.quiet_success().text(), "5\nnone\n");
}

fn a_proc_mounted_later_does_not_lead_the_tracer_astray(engine: Engine) {
    // In the tracer's own mount namespace, where the numbers in /proc then mean other tasks.
    let script = "mount -t proc proc /proc && cat /proc/self/mounts /proc/self/mountinfo /proc/1/mountstats";
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private"]).args(engine.prefix().words());
    command.args(["unshare", "-pf", "sh", "-c", script]);
    let seen = finish(&mut command).quiet_success();
    assert!(lines_of_type(&seen.stdout, "ext4") > 0, "{}", seen.text());
    assert_eq!(lines_of_type(&seen.stdout, "tmpfs"), 0, "{}", seen.text());
}

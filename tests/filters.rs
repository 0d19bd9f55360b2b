//! Seccomp filters that are there already, or that a program installs itself.

use crate::common::needs::{ROOT, SETPRIV};
use crate::common::tables::masked;
use crate::common::{Case, Done, Engine, Prefix, bare, bare_guest, both, finish, once, stage};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            a_filter_that_refuses_injected_calls_leaves_the_kernels_table_and_a_warning,
            a_filter_that_kills_at_injected_calls_kills_no_program,
            a_program_that_asks_for_a_tracer_of_its_own_gets_none,
            a_tracer_without_process_vm_readv_reads_memory_in_another_way,
        ),
        both!(&[ROOT, SETPRIV]; a_filter_that_kills_is_seen_whatever_the_programs_name),
        once!(&[];
            a_place_that_forbids_ptrace_is_named_with_a_way_out,
            a_place_that_forbids_filters_is_served_with_all_stops_and_a_warning,
        ),
    ]
    .concat()
}

const TABLE: [&str; 4] = ["--guest", "table", "openat", "/proc/self/mountinfo"];

/// A reader of a table below a filter, below the prefix.
fn below_filter(engine: Engine, calls: &str, action: &str) -> Done {
    let mut command = engine.prefix().guest("deny");
    finish(command.args([calls, action]).arg(&stage().guest).args(TABLE))
}

#[track_caller]
fn assert_unbroken(done: Done, calls: &str, action: &str) {
    let bare = finish(bare_guest("table").args(&TABLE[2..])).quiet_success().stdout;
    let errors = done.errors();
    assert!(done.status.success(), "{action} at {calls}: {}; {errors}", done.status);
    if done.stdout == bare {
        assert!(errors.contains("WARN") && errors.contains("filter"), "{action} at {calls}: {errors}");
    } else {
        // A way round the filter was found.
        assert!(
            done.stdout == masked(&bare),
            "{action} at {calls}: neither the kernel's table nor the masked one"
        );
    }
}

fn a_filter_that_refuses_injected_calls_leaves_the_kernels_table_and_a_warning(engine: Engine) {
    for calls in ["memfd_create", "dup3", "memfd_create,dup3"] {
        assert_unbroken(below_filter(engine, calls, "errno"), calls, "errno");
    }
}

fn a_filter_that_kills_at_injected_calls_kills_no_program(engine: Engine) {
    for action in ["trap", "kill"] {
        assert_unbroken(below_filter(engine, "memfd_create", action), "memfd_create", action);
    }
}

fn a_filter_that_kills_is_seen_whatever_the_programs_name(engine: Engine) {
    let folder = stage().scratch("name");
    let program = folder.join(OsStr::from_bytes(b"na\xefme"));
    std::os::unix::fs::symlink(&stage().guest, program).unwrap();
    // Root's injected calls pass any filter.
    let mut command = bare("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(engine.prefix().words());
    command.arg(&stage().guest).args(["--guest", "deny", "memfd_create", "kill"]);
    command.args(["sh", "-c", "cd \"$0\" && exec ./na*me \"$@\""]).arg(folder).args(TABLE);
    assert_unbroken(finish(&mut command), "memfd_create", "kill");
}

fn a_program_that_asks_for_a_tracer_of_its_own_gets_none(engine: Engine) {
    let expected = finish(&mut bare_guest("own-trace")).quiet_success().text();
    assert_eq!(expected, "getppid Err(38), statfs Err(38)\n");
    assert_eq!(finish(&mut engine.prefix().guest("own-trace")).quiet_success().text(), expected);
}

/// The prefix below a filter.
fn prefix_below_filter(prefix: &Prefix, calls: &str) -> Command {
    let mut command = bare(&stage().guest);
    command.args(["--guest", "deny", calls, "errno"]).args(prefix.words()).arg(&stage().guest).args(TABLE);
    command
}

fn a_tracer_without_process_vm_readv_reads_memory_in_another_way(engine: Engine) {
    let bare = finish(bare_guest("table").args(&TABLE[2..])).quiet_success().stdout;
    for calls in ["process_vm_readv,process_vm_writev", "pidfd_getfd,pidfd_open"] {
        let done = finish(&mut prefix_below_filter(&engine.prefix(), calls)).quiet_success();
        assert!(done.stdout == masked(&bare), "without {calls}");
    }
}

fn a_place_that_forbids_ptrace_is_named_with_a_way_out() {
    let done = finish(&mut prefix_below_filter(&Engine::Seccomp.prefix(), "ptrace"));
    assert_eq!(done.status.code(), Some(125));
    for part in ["fsmasq: ptrace is not allowed here", "SYS_PTRACE", "seccomp"] {
        assert!(done.errors().contains(part), "no `{part}` in: {}", done.errors());
    }
}

fn a_place_that_forbids_filters_is_served_with_all_stops_and_a_warning() {
    let bare = finish(bare_guest("table").args(&TABLE[2..])).quiet_success().stdout;
    let done = finish(&mut prefix_below_filter(&Engine::Seccomp.prefix(), "seccomp")).success();
    assert!(done.stdout == masked(&bare));
    assert_eq!(done.errors().lines().count(), 1, "{}", done.errors());
    assert!(done.errors().contains("every system call stops"), "{}", done.errors());
}

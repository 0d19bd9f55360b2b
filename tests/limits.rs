//! The caller's resource limits are the command's, and never the tracer's undoing.

use crate::common::run::assert_same_lines;
use crate::common::tables::masked;
use crate::common::{Case, Engine, bare_guest, both, finish};
use std::os::unix::process::CommandExt;

pub fn cases() -> Vec<Case> {
    both!(&[];
        a_limit_on_file_sizes_does_not_end_the_tracer,
        a_limit_on_cpu_time_does_not_count_the_tracers,
        a_limit_on_descriptors_does_not_hinder_the_tracer,
        a_limit_on_locked_memory_or_stacks_does_not_hinder_the_tracer,
    )
}

/// Reads a table below a limit that was there before the launcher.
#[track_caller]
fn reads_a_table_below(
    engine: Engine,
    resource: libc::__rlimit_resource_t,
    value: libc::rlim_t,
    guest: &str,
    count: &str,
) {
    let arguments = [count, "/proc/self/mountinfo"];
    let bare = finish(bare_guest("table-often").args(["1", "/proc/self/mountinfo"])).quiet_success().stdout;
    let mut command = engine.prefix().guest(guest);
    command.args(arguments);
    // The soft limit, as `ulimit -S` sets it: what is allowed to be raised again.
    // SAFETY: both calls are allowed after a fork.
    unsafe {
        command.pre_exec(move || {
            let mut limits: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(resource, &raw mut limits);
            limits.rlim_cur = value;
            libc::setrlimit(resource, &raw const limits);
            Ok(())
        })
    };
    let done = finish(&mut command).quiet_success();
    assert_same_lines(&done.text(), &String::from_utf8_lossy(&masked(&bare)), "the table");
}

fn a_limit_on_file_sizes_does_not_end_the_tracer(engine: Engine) {
    reads_a_table_below(engine, libc::RLIMIT_FSIZE, 0, "table-often", "3");
}

fn a_limit_on_cpu_time_does_not_count_the_tracers(engine: Engine) {
    // One second: the many processes that share a tracer need less than that each, the tracer more.
    reads_a_table_below(engine, libc::RLIMIT_CPU, 1, "table-in-children", "150");
}

fn a_limit_on_descriptors_does_not_hinder_the_tracer(engine: Engine) {
    reads_a_table_below(engine, libc::RLIMIT_NOFILE, 6, "table-often", "3");
}

fn a_limit_on_locked_memory_or_stacks_does_not_hinder_the_tracer(engine: Engine) {
    reads_a_table_below(engine, libc::RLIMIT_MEMLOCK, 0, "table-often", "3");
    reads_a_table_below(engine, libc::RLIMIT_STACK, 256 << 10, "table-often", "3");
}

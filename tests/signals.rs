//! Signals while calls are rewritten.

use crate::common::run::same_but_masked;
use crate::common::{Case, Engine, both, finish, stage};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub fn cases() -> Vec<Case> {
    both!(&[];
        tables_are_whole_while_signals_come_all_the_time,
        ignored_signals_interrupt_nothing,
        ignored_signals_interrupt_nothing_whatever_the_programs_name,
    )
}

fn tables_are_whole_while_signals_come_all_the_time(engine: Engine) {
    same_but_masked(engine, "signals", &["/proc/self/mounts"]);
}

fn ignored_signals_interrupt_nothing(engine: Engine) {
    let seen = same_but_masked(engine, "ignored-signals", &[]);
    assert_eq!(seen.text(), "never interrupted\n");
}

fn ignored_signals_interrupt_nothing_whatever_the_programs_name(engine: Engine) {
    // Cut in the middle of a character, as long names are.
    let program = stage().scratch("name").join(OsStr::from_bytes(b"na\xefme"));
    std::os::unix::fs::symlink(&stage().guest, &program).unwrap();
    let seen = finish(engine.prefix().command(&program).args(["--guest", "ignored-signals"])).quiet_success();
    assert_eq!(seen.text(), "never interrupted\n");
}

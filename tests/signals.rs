//! Signals while calls are rewritten.

use crate::common::run::same_but_masked;
use crate::common::{Case, Engine, both};

pub fn cases() -> Vec<Case> {
    both!(&[]; tables_are_whole_while_signals_come_all_the_time, ignored_signals_interrupt_nothing)
}

fn tables_are_whole_while_signals_come_all_the_time(engine: Engine) {
    same_but_masked(engine, "signals", &["/proc/self/mounts"]);
}

fn ignored_signals_interrupt_nothing(engine: Engine) {
    let seen = same_but_masked(engine, "ignored-signals", &[]);
    assert_eq!(seen.text(), "never interrupted\n");
}

//! Signals that the first process of a PID namespace never gets natively.

use crate::common::needs::{ROOT, UNSHARE};
use crate::common::{Case, Engine, both};
use crate::first_process::{guest, same};

pub fn cases() -> Vec<Case> {
    both!(&[ROOT, UNSHARE]; signals_without_a_handler_neither_end_nor_interrupt_it)
}

fn signals_without_a_handler_neither_end_nor_interrupt_it(engine: Engine) {
    let seen = same(engine, &[guest(), "--guest", "init-signals"]);
    assert!(seen.ends_with("the end\n"), "{seen}");
}

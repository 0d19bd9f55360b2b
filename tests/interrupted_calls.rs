//! Blocking calls that signals meet: what a program ignores interrupts nothing, what it handles interrupts
//! what it does natively.

use crate::common::run::same_but_masked;
use crate::common::{Case, Engine, both, stage};

pub fn cases() -> Vec<Case> {
    both!(&[];
        signals_that_are_ignored_by_default_interrupt_no_call,
        a_signal_that_the_program_ignores_interrupts_no_call,
        a_handler_interrupts_the_calls_that_it_does_natively,
        a_handler_that_restarts_calls_restarts_those_that_it_does_natively,
        timeouts_end_calls_however_often_ignored_signals_come,
    )
}

/// Every call, bare and below the prefix.
#[track_caller]
fn same_answers(engine: Engine, signal: i32, mode: &str) -> String {
    let folder = stage().scratch("interrupted");
    let words = [&signal.to_string(), mode, folder.to_str().unwrap()];
    let seen = same_but_masked(engine, "interrupted", &words).text();
    assert!(seen.lines().count() >= 20, "{seen}");
    seen
}

fn signals_that_are_ignored_by_default_interrupt_no_call(engine: Engine) {
    for signal in [libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG, libc::SIGCONT] {
        same_answers(engine, signal, "by-default");
    }
}

fn a_signal_that_the_program_ignores_interrupts_no_call(engine: Engine) {
    same_answers(engine, libc::SIGUSR1, "ignored");
    same_answers(engine, 40, "ignored");
}

fn a_handler_interrupts_the_calls_that_it_does_natively(engine: Engine) {
    let seen = same_answers(engine, libc::SIGUSR1, "handler");
    assert!(seen.contains("epoll_wait: -4, handled 1 times"), "{seen}");
}

fn a_handler_that_restarts_calls_restarts_those_that_it_does_natively(engine: Engine) {
    let seen = same_answers(engine, libc::SIGUSR1, "restart");
    assert!(seen.contains("read of a pipe: 8, handled 5 times"), "{seen}");
}

fn timeouts_end_calls_however_often_ignored_signals_come(engine: Engine) {
    same_answers(engine, libc::SIGWINCH, "timeout");
}

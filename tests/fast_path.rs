//! Opens that nobody wants to see do not stop, and nobody can tell.

use crate::common::needs::ROOT;
use crate::common::run::same_but_masked;
use crate::common::{Case, Engine, both, finish, once, stage};

pub fn cases() -> Vec<Case> {
    [
        once!(&[]; sites_are_patched_and_their_opens_do_not_stop, nothing_is_patched_where_that_is_not_wanted),
        both!(&[];
            tables_are_masked_at_a_site_that_made_many_opens,
            every_spelling_of_a_path_opens_the_same,
            pointers_that_lead_nowhere_are_an_error_and_no_signal,
            handlers_find_the_program_where_it_would_be,
            handlers_may_jump_out_of_opens,
            threads_open_while_their_site_is_patched,
            children_of_every_kind_open_at_a_patched_site,
            a_program_may_have_the_place_itself,
            an_open_that_waits_is_interrupted_as_ever,
            no_descriptor_is_left_over,
            a_filter_that_answers_opens_by_a_signal_does_so_once,
        ),
        both!(&[ROOT];
            a_program_that_traces_a_child_of_its_memory_stays_masked,
        ),
    ]
    .concat()
}

const GUEST: &str = "open-often";

/// Stops, sites patched, sites left.
fn counts(engine_options: &[&str], times: &str) -> [u64; 3] {
    let prefix = Engine::FastPath.prefix().options(["--summary", "--log-format=json"]);
    let mut command = prefix.options(engine_options.iter().copied()).guest(GUEST);
    let done = finish(command.args(["count", times])).success();
    let line = done.errors();
    let summary: serde_json::Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    ["/stops", "/sites/patched", "/sites/left"].map(|field| summary.pointer(field).unwrap().as_u64().unwrap())
}

fn sites_are_patched_and_their_opens_do_not_stop() {
    let [few, patched, _] = counts(&[], "100");
    let [many, ..] = counts(&[], "10000");
    assert!(
        patched >= 1 && many < few + 20,
        "{few} stops for 200 opens, {many} for 20000; {patched} sites patched"
    );
}

fn nothing_is_patched_where_that_is_not_wanted() {
    let prefix = Engine::Seccomp.prefix().options(["--summary", "--log-format=json"]);
    let done = finish(prefix.guest(GUEST).args(["count", "100"])).success();
    let summary: serde_json::Value = serde_json::from_str(done.errors().lines().last().unwrap()).unwrap();
    assert_eq!(summary["sites"]["patched"], 0);
    assert!(summary["stops"].as_u64().unwrap() > 200, "{summary}");
}

fn tables_are_masked_at_a_site_that_made_many_opens(engine: Engine) {
    same_but_masked(engine, GUEST, &["count", "100"]);
}

fn every_spelling_of_a_path_opens_the_same(engine: Engine) {
    let folder = stage().scratch("spellings");
    let seen = same_but_masked(engine, GUEST, &["paths", folder.to_str().unwrap()]);
    assert!(seen.text().contains(" ext4 "));
}

fn pointers_that_lead_nowhere_are_an_error_and_no_signal(engine: Engine) {
    assert!(same_but_masked(engine, GUEST, &["bad-pointers"]).text().starts_with("default: -1 14\n"));
}

fn handlers_find_the_program_where_it_would_be(engine: Engine) {
    same_but_masked(engine, GUEST, &["signals"]);
}

fn handlers_may_jump_out_of_opens(engine: Engine) {
    same_but_masked(engine, GUEST, &["jumps"]);
}

fn threads_open_while_their_site_is_patched(engine: Engine) {
    for _ in 0..if engine == Engine::FastPath { 40 } else { 2 } {
        same_but_masked(engine, GUEST, &["threads", "8"]);
    }
}

fn children_of_every_kind_open_at_a_patched_site(engine: Engine) {
    same_but_masked(engine, GUEST, &["children"]);
}

fn a_program_may_have_the_place_itself(engine: Engine) {
    same_but_masked(engine, GUEST, &["place-taken", "before"]);
    // Patient enough to let the program begin.
    let mut command = Engine::FastPath.prefix().without(Engine::FastPath.option()).guest(GUEST);
    let seen = finish(command.args(["place-taken", "before"])).quiet_success();
    assert!(seen.text().contains(" ext4 "));
}

fn an_open_that_waits_is_interrupted_as_ever(engine: Engine) {
    let folder = stage().scratch("fifo");
    same_but_masked(engine, GUEST, &["fifo", folder.to_str().unwrap()]);
}

fn a_filter_that_answers_opens_by_a_signal_does_so_once(engine: Engine) {
    let seen = same_but_masked(engine, GUEST, &["trapped"]).text();
    assert!(seen.ends_with("3 signals, 0 inconsistent\n"), "{seen}");
}

fn a_program_that_traces_a_child_of_its_memory_stays_masked(engine: Engine) {
    let seen = same_but_masked(engine, GUEST, &["traces"]).text();
    assert!(seen.starts_with("stopped: true\n0\n") && seen.contains(" ext4 "), "{seen}");
}

fn no_descriptor_is_left_over(engine: Engine) {
    same_but_masked(engine, GUEST, &["numbers"]);
}

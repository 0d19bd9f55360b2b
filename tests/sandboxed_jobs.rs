//! Jobs and their stops as one program makes them, here and in gVisor.

use crate::common::run::{assert_same_lines, same_but_masked};
use crate::common::sandbox::Sandbox;
use crate::common::{Case, Engine, both};

const GUEST: &str = "jobs-by-signals";

pub fn cases() -> Vec<Case> {
    let mut cases = both!(&[]; jobs_are_stopped_and_ended_as_without_the_prefix);
    for sandbox in Sandbox::ALL {
        for engine in Engine::ALL {
            let name = format!("sandboxed_jobs: {GUEST} [{}, {}]", sandbox.name(), engine.name());
            cases.push(Case::made(name, sandbox.needs(), move || same(sandbox, engine)));
        }
    }
    cases
}

fn jobs_are_stopped_and_ended_as_without_the_prefix(engine: Engine) {
    let seen = same_but_masked(engine, GUEST, &["any"]).text();
    assert!(seen.starts_with("\"Stopped, SIGSTOP)\"\n\"Continued)\"\n"), "{seen}");
}

#[track_caller]
fn same(sandbox: Sandbox, engine: Engine) {
    // That of 2022 forgets a signal that arrives while the task is at a tracer's stop, whoever the tracer
    // (docs/gvisor.md).
    let moment = if sandbox == Sandbox::Old { "asleep" } else { "any" };
    let [bare, masked] = sandbox.bare_and_masked(engine, GUEST, moment);
    assert_same_lines(&masked.text(), &bare.text(), GUEST);
    assert_eq!((masked.errors(), masked.status), (bare.errors(), bare.status), "{}", bare.text());
}

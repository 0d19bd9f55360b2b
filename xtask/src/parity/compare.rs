//! Two runs of a job → what differs. A difference is tried again before it counts.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::explained::Explained;
use super::run::{Run, Runner, Way};
use super::suite::{Job, Outcome, Verdict, Verdicts};
use crate::tools::step;

/// How often a single test is tried again.
const ROUNDS: usize = 3;
/// With more of them something is thoroughly wrong, and trying each again takes hours.
const MANY: usize = 12;
/// For one test alone.
const ALONE_LIMIT: Duration = Duration::from_secs(120);

/// One test that isn't the same in both runs.
#[derive(Debug)]
pub struct Difference {
    /// `JOB: TEST`.
    pub test: String,
    pub bare: Option<Verdict>,
    pub below: Option<Verdict>,
}

/// What a job, or all of a suite's, came to.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub tests: usize,
    pub passed_bare: usize,
    pub passed_below: usize,
    pub skipped: usize,
    pub differences: Vec<Difference>,
    pub explained: Vec<(Difference, &'static str)>,
    /// Differences that didn't come again, or whose bare run isn't always the same.
    pub unsteady: Vec<String>,
    pub took_bare: Duration,
    pub took_below: Duration,
    pub stops: u64,
    pub rewritten: u64,
}

/// Runs a job both ways and compares.
pub fn job(
    runner: &Runner,
    suite: &str,
    job: &Job,
    together: bool,
    known: &[&'static Explained],
) -> Result<Outcomes> {
    let title = if job.name == suite { suite.to_owned() } else { format!("{suite} {}", job.name) };
    let run = |way: Way, limit: Duration| {
        step(&format!("{title}, {}", way.name()), || runner.run(job, &job.words, limit, way))
    };
    let (bare, below) = if together {
        step(&title, || both(runner, job))?
    } else {
        let bare = run(Way::Bare, job.limit)?;
        let below = run(Way::Below, patient(job.limit, &bare))?;
        (bare, below)
    };
    if bare.verdicts.is_empty() {
        bail!("the bare run named no test. It said:\n{}", bare.said);
    }
    let mut outcomes = count(&bare, &below);
    let mut differing = differences(&bare, &below);
    differing.retain(|test| {
        let full = format!("{}: {test}", job.name);
        let why = known.iter().find(|explained| explained.is_about(&full)).map(|explained| explained.why);
        if let Some(why) = why {
            let difference = named(&full, test, &bare, &below);
            outcomes.explained.push((difference, why));
        }
        why.is_none()
    });
    let many = differing.len() > MANY;
    for test in differing {
        let full = format!("{}: {test}", job.name);
        // Where the measure itself is no measure, nothing differs from it.
        let hung = bare.verdicts.get(&test).is_some_and(|verdict| verdict.outcome == Outcome::Hung);
        if !hung && (many || again(runner, &title, job, &test, &bare)?) {
            outcomes.differences.push(named(&full, &test, &bare, &below));
        } else {
            outcomes.unsteady.push(full);
        }
    }
    Ok(outcomes)
}

impl Outcomes {
    pub fn add(&mut self, other: Outcomes) {
        self.tests += other.tests;
        self.passed_bare += other.passed_bare;
        self.passed_below += other.passed_below;
        self.skipped += other.skipped;
        self.differences.extend(other.differences);
        self.explained.extend(other.explained);
        self.unsteady.extend(other.unsteady);
        self.took_bare += other.took_bare;
        self.took_below += other.took_below;
        self.stops += other.stops;
        self.rewritten += other.rewritten;
    }
}

fn named(full: &str, test: &str, bare: &Run, below: &Run) -> Difference {
    let of = |run: &Run| run.verdicts.get(test).cloned();
    Difference { test: full.to_owned(), bare: of(bare), below: of(below) }
}

fn count(bare: &Run, below: &Run) -> Outcomes {
    let with = |verdicts: &Verdicts, outcome: Outcome| {
        verdicts.values().filter(|verdict| verdict.outcome == outcome).count()
    };
    let names: BTreeSet<&String> = bare.verdicts.keys().chain(below.verdicts.keys()).collect();
    let skipped = with(&bare.verdicts, Outcome::Skipped);
    Outcomes {
        tests: names.len() - skipped,
        passed_bare: with(&bare.verdicts, Outcome::Passed),
        passed_below: with(&below.verdicts, Outcome::Passed),
        skipped,
        took_bare: bare.took,
        took_below: below.took,
        stops: below.stops,
        rewritten: below.rewritten,
        ..Outcomes::default()
    }
}

/// By test: what was found in the two runs. Tests that a run didn't come to, because it was ended, don't differ.
fn differences(bare: &Run, below: &Run) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in bare.verdicts.keys().chain(below.verdicts.keys()) {
        let differs = match (bare.verdicts.get(name), below.verdicts.get(name)) {
            (Some(first), Some(second)) => !first.agrees(second),
            (Some(_), None) => below.ended,
            (None, Some(_)) => bare.ended,
            (None, None) => false,
        };
        if differs {
            found.insert(name.clone());
        }
    }
    // A run that says nothing at all.
    if bare.verdicts.is_empty() != below.verdicts.is_empty() || bare.ended != below.ended && found.is_empty()
    {
        found.insert("(as a whole)".to_owned());
    }
    found
}

/// Whether the difference comes again while the bare run stays as it was: of the test alone, where that can be; if it
/// doesn't, of the whole job.
fn again(runner: &Runner, title: &str, job: &Job, test: &str, first: &Run) -> Result<bool> {
    let alone = job.again.as_ref().map(|again| again(test));
    let mut plan = Vec::new();
    if let Some(words) = &alone {
        plan.push((words, job.limit.min(ALONE_LIMIT), ROUNDS));
    }
    plan.push((&job.words, job.limit, if alone.is_none() { ROUNDS } else { 1 }));
    for (words, limit, rounds) in plan {
        let mut came = false;
        for round in 1..=rounds {
            let run = |way: Way, limit: Duration| {
                let name = format!("{title}: {test}, again ({round}), {}", way.name());
                step(&name, || runner.run(job, words, limit, way))
            };
            let bare = run(Way::Bare, limit)?;
            let below = run(Way::Below, patient(limit, &bare))?;
            if !same(&bare, first, test) {
                return Ok(false);
            }
            came |= !same(&bare, &below, test);
        }
        if came {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Both runs at the same time.
fn both(runner: &Runner, job: &Job) -> Result<(Run, Run)> {
    thread::scope(|scope| {
        let bare = scope.spawn(|| runner.run(job, &job.words, job.limit, Way::Bare));
        let below = runner.run(job, &job.words, job.limit * 2, Way::Below)?;
        let bare = bare.join().map_err(|_| anyhow!("the thread of the bare run panicked"))??;
        Ok((bare, below))
    })
}

/// The limit below the prefix: on a busy machine, what took long bare is not said to hang because it takes longer.
fn patient(limit: Duration, bare: &Run) -> Duration {
    if bare.ended { limit.max(bare.took * 4) } else { limit }
}

fn same(one: &Run, other: &Run, test: &str) -> bool {
    match (one.verdicts.get(test), other.verdicts.get(test)) {
        (Some(first), Some(second)) => first.agrees(second),
        (None, None) => one.ended == other.ended,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(verdicts: &[(&str, Outcome)], ended: bool) -> Run {
        let verdicts = verdicts.iter().map(|(name, outcome)| ((*name).to_owned(), Verdict::new(*outcome)));
        Run {
            verdicts: verdicts.collect(),
            ended,
            took: Duration::ZERO,
            said: String::new(),
            stops: 0,
            rewritten: 0,
        }
    }

    fn found(bare: &Run, below: &Run) -> Vec<String> {
        differences(bare, below).into_iter().collect()
    }

    #[test]
    fn what_fails_in_both_runs_is_no_difference() {
        let one = run(&[("a", Outcome::Failed), ("b", Outcome::Passed)], true);
        let other = run(&[("a", Outcome::Failed), ("b", Outcome::Skipped)], true);
        assert_eq!(found(&one, &other), ["b"]);
    }

    #[test]
    fn after_a_hang_only_the_test_that_hung_differs() {
        let bare = run(&[("a", Outcome::Passed), ("b", Outcome::Passed), ("c", Outcome::Passed)], true);
        let below = run(&[("a", Outcome::Passed), ("b", Outcome::Hung)], false);
        assert_eq!(found(&bare, &below), ["b"]);
        let ended = run(&[("a", Outcome::Passed)], true);
        assert_eq!(found(&bare, &ended), ["b", "c"]);
    }

    #[test]
    fn a_run_without_a_word_differs() {
        let bare = run(&[("a", Outcome::Passed)], true);
        assert_eq!(found(&bare, &run(&[], false)), ["(as a whole)"]);
    }
}

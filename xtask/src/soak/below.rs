//! The driver: it runs below the prefix, and starts all workers.

use super::report::{Count, Counts};
use super::workers::{self, Verdict, Worker};
use anyhow::Result;
use std::io::Write;
use std::io::{BufRead, stdin, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Runs at a time: more than there are CPUs, so that everything meets everything.
const AT_ONCE: usize = 8;
/// Wrong answers kept with their text.
const TEXTS: usize = 3;

pub fn run(time: Duration) -> Result<()> {
    let started = Instant::now();
    let all = workers::all();
    let counts: Mutex<Counts> = Mutex::default();
    for worker in &all {
        let count = Count { missing: worker.missing.clone(), ..Count::default() };
        counts.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?.insert(worker.name.clone(), count);
    }
    let ready: Vec<&Worker> = all.iter().filter(|worker| worker.missing.is_none()).collect();
    // Warm: everything ran once, and the tracer's tables have had room for 5,000 threads.
    mixed(&ready, &counts, Instant::now() + time / 6, true);
    alone(&workers::many_threads(), &counts);
    pause("after the warm-up")?;
    for (part, what) in [(2, "in the middle"), (5, "near the end")] {
        mixed(&ready, &counts, started + time * part / 6, false);
        pause(what)?;
    }
    mixed(&ready, &counts, started + time, true);
    alone(&workers::many_threads(), &counts);
    pause("at the end")?;
    if let Ok(counts) = counts.lock() {
        println!("counts {}", serde_json::to_string(&*counts)?);
    }
    stdout().flush()?;
    Ok(())
}

/// Says that nothing runs, and waits until that has been looked at.
fn pause(what: &str) -> Result<()> {
    workers::wait_until_alone();
    println!("quiet {what}");
    stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Runs workers in turn, several at a time, until the deadline; each at least once where that is asked for.
fn mixed(workers: &[&Worker], counts: &Mutex<Counts>, until: Instant, each: bool) {
    let turn = AtomicUsize::new(0);
    let at_least = if each { workers.len() } else { 0 };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    if workers.is_empty() || (turn >= at_least && Instant::now() > until) {
                        return;
                    }
                    alone(workers[turn % workers.len()], counts);
                }
            });
        }
    });
}

/// One run of a worker.
fn alone(worker: &Worker, counts: &Mutex<Counts>) {
    static RUN: AtomicU64 = AtomicU64::new(1);
    let count = |change: &dyn Fn(&mut Count)| {
        if let Ok(mut counts) = counts.lock() {
            change(counts.entry(worker.name.clone()).or_default());
        }
    };
    count(&|count| count.started += 1);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let verdict = catch_unwind(AssertUnwindSafe(|| (worker.run)(run)));
    count(&|count| {
        count.ended += 1;
        let wrong = match &verdict {
            Ok(Verdict::Right) => return,
            Ok(Verdict::Wrong(text)) => text.clone(),
            Err(_) => "the worker panicked".to_owned(),
        };
        count.wrong += 1;
        if count.texts.len() < TEXTS {
            count.texts.push(format!("run {run}: {wrong}"));
        }
    });
}

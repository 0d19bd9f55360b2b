//! A harness that says what it leaves out: `ok`, `FAILED` and `skipped: NAME: needs X`, then
//! `N passed, N failed, N skipped`.

use super::needs::Need;
use super::run::Engine;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Nothing may hang for ever: after this time a case is named and the whole run ends.
const DEADLINE: Duration = Duration::from_secs(180);

/// A behaviour to try.
#[derive(Clone)]
pub struct Case {
    name: String,
    needs: &'static [Need],
    body: Arc<dyn Fn() + Send + Sync>,
}

impl Case {
    /// A case that is the same for every engine.
    pub fn once(module: &str, test: &str, needs: &'static [Need], body: fn()) -> Case {
        Case { name: name(module, test), needs, body: Arc::new(body) }
    }

    /// One case per engine.
    pub fn both(module: &str, test: &str, needs: &'static [Need], body: fn(Engine)) -> Vec<Case> {
        let case = |engine: Engine| Case {
            name: format!("{} [{}]", name(module, test), engine.name()),
            needs,
            body: Arc::new(move || body(engine)),
        };
        Engine::ALL.map(case).to_vec()
    }

    /// A case whose name and body are made at run time.
    pub fn made(name: String, needs: &'static [Need], body: impl Fn() + Send + Sync + 'static) -> Case {
        Case { name, needs, body: Arc::new(body) }
    }
}

/// `behaviours::statfs` and `only_the_magic_changes` → `statfs: only the magic changes`.
fn name(module: &str, test: &str) -> String {
    let module = module.rsplit("::").next().unwrap_or(module);
    format!("{module}: {}", test.replace('_', " "))
}

enum Verdict {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

/// Runs the cases that the arguments select; the exit status.
pub fn run(cases: Vec<Case>, arguments: &[String]) -> i32 {
    let wanted = Wanted::parse(arguments);
    let cases: Vec<Case> = cases.into_iter().filter(|case| wanted.includes(&case.name)).collect();
    if wanted.list {
        cases.iter().for_each(|case| println!("{}: test", case.name));
        return 0;
    }
    std::panic::set_hook(Box::new(|info| {
        MESSAGE.with(|message| *message.lock().unwrap() = info.to_string());
    }));
    println!("\nrunning {} tests", cases.len());
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..wanted.threads {
            let (sender, cases, next) = (sender.clone(), &cases, &next);
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sender.send((case.name.clone(), verdict(case))).unwrap();
                }
            });
        }
        drop(sender);
        for (name, verdict) in results {
            match verdict {
                Verdict::Passed => {
                    passed += 1;
                    println!("ok: {name}");
                }
                Verdict::Failed(why) => {
                    println!("FAILED: {name}\n    {}", why.replace('\n', "\n    "));
                    failed.push(name);
                }
                Verdict::Skipped(what) => {
                    skipped += 1;
                    println!("skipped: {name}: needs {what}");
                }
            }
        }
    });
    for name in &failed {
        println!("failed: {name}");
    }
    println!("\n{passed} passed, {} failed, {skipped} skipped", failed.len());
    i32::from(!failed.is_empty())
}

thread_local! {
    /// What the case of this thread panicked with.
    static MESSAGE: Mutex<String> = const { Mutex::new(String::new()) };
}

fn verdict(case: &Case) -> Verdict {
    if let Some(missing) = case.needs.iter().find(|need| !need.is_met()) {
        return Verdict::Skipped(missing.what);
    }
    let (done, watched) = mpsc::channel::<()>();
    let name = case.name.clone();
    let watch = std::thread::spawn(move || {
        if watched.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
            println!("FAILED: {name}: not through after {} s; ending", DEADLINE.as_secs());
            std::process::exit(1);
        }
    });
    let outcome = catch_unwind(AssertUnwindSafe(|| (case.body)()));
    drop(done);
    watch.join().unwrap();
    match outcome {
        Ok(()) => Verdict::Passed,
        Err(_) => Verdict::Failed(MESSAGE.with(|message| std::mem::take(&mut *message.lock().unwrap()))),
    }
}

/// The part of libtest's arguments that people use.
struct Wanted {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    threads: usize,
}

impl Wanted {
    fn parse(arguments: &[String]) -> Wanted {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut wanted =
            Wanted { filters: Vec::new(), skipped: Vec::new(), exact: false, list: false, threads };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => wanted.exact = true,
                "--list" => wanted.list = true,
                "--skip" => wanted.skipped.extend(arguments.next().cloned()),
                "--test-threads" => {
                    wanted.threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(threads);
                }
                option if option.starts_with('-') => {}
                filter => wanted.filters.push(filter.to_owned()),
            }
        }
        wanted
    }

    fn includes(&self, name: &str) -> bool {
        let matches = |filter: &String| if self.exact { name == filter } else { name.contains(filter) };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skipped.iter().any(|s| name.contains(s))
    }
}

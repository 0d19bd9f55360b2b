//! `cargo xtask parity`: test suites of other projects, run bare and below the prefix. What passes in one and not in the
//! other is a bug of the launcher, unless `explained.rs` says why it can't be otherwise.

mod compare;
mod explained;
mod readers;
mod real;
mod report;
mod run;
mod suite;
mod suites;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::test::Tally;
use crate::tools::{Cache, launcher, step};
use compare::Outcomes;
use run::Runner;
use suite::{Context, Missing, Place, Plan, Suite};

#[derive(clap::Args)]
pub struct Arguments {
    /// The form of continuous integration: minutes instead of an hour
    #[arg(long)]
    short: bool,

    /// Only these suites; the others' rows stay as they are in docs/parity.md
    #[arg(long, value_delimiter = ',', value_name = "SUITE,…")]
    only: Vec<String>,

    /// Inside gVisor: bare gVisor against the prefix in gVisor
    #[arg(long)]
    gvisor: bool,

    /// Names the suites
    #[arg(long)]
    list: bool,

    /// One more option of the prefix, such as --no-seccomp; repeatable
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    prefix_option: Vec<String>,

    /// This launcher, instead of one that is built now
    #[arg(long, value_name = "FILE")]
    launcher: Option<PathBuf>,

    /// Print only, and leave docs/parity.md as it is
    #[arg(long)]
    dry_run: bool,

    /// Also writes what the short form finds to docs/parity.md, marked as such
    #[arg(long)]
    record: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let place = if arguments.gvisor { Place::Gvisor } else { Place::Linux };
    let suites = chosen(arguments, place)?;
    if arguments.list {
        for suite in &suites {
            let when = if suite.long { " (not in the short form)" } else { "" };
            println!("{:<24} {}{when}", suite.name, suite.about);
        }
        return Ok(());
    }
    let cache = Cache::open()?;
    let runsc = if place == Place::Gvisor { Some(cache.runsc()?) } else { None };
    let program = arguments.launcher.clone().map_or_else(launcher, Ok)?;
    let runner = Runner::new(place, program, runsc, arguments.prefix_option.clone())?;
    println!("{}", runner.prefix());

    let mut rows = Vec::new();
    let mut tally = Tally::default();
    for suite in &suites {
        let folder = runner.scratch().join(suite.name);
        fs::create_dir_all(&folder)?;
        let context = Context { place, short: arguments.short, folder: &folder, cache: &cache };
        let row = match (suite.make)(&context) {
            Err(Missing(what)) => {
                tally.skipped += 1;
                println!("skipped: {}: {what}", suite.name);
                report::missing_row(suite.name, &what)
            }
            Ok(plan) => {
                tally.skipped += u32::try_from(plan.skipped.len())?;
                match one(&runner, suite, place, &plan) {
                    Ok(outcomes) => {
                        tally += counts(&outcomes);
                        let form = if arguments.short { " (short)" } else { "" };
                        report::row(&format!("{}{form}", suite.name), &outcomes)
                    }
                    // The other suites are worth running.
                    Err(error) => {
                        tally.failed += 1;
                        println!("FAILED: {error:#}");
                        report::missing_row(suite.name, "it failed")
                    }
                }
            }
        };
        println!("{row}");
        rows.push((suite.name.to_owned(), row));
        // Built programs of one suite can be large.
        let _ = fs::remove_dir_all(&folder);
    }

    println!("\n{}{}", report::HEAD, rows.iter().map(|(_, row)| format!("{row}\n")).collect::<String>());
    let recorded = !arguments.short || arguments.record;
    if recorded && !arguments.dry_run && arguments.prefix_option.is_empty() {
        let names: Vec<&str> = suites::all().iter().map(|suite| suite.name).collect();
        report::write(place, &format!("With `{}`.", runner.prefix()), &names, &rows)?;
    }
    // What is the same in both runs has passed, also where it fails in both.
    println!("{tally}");
    if tally.failed > 0 {
        bail!(
            "{} differences without an explanation, or suites that could not be run; they are named above",
            tally.failed
        );
    }
    Ok(())
}

fn chosen(arguments: &Arguments, place: Place) -> Result<Vec<Suite>> {
    let mut suites = suites::all();
    if let Some(unknown) = arguments.only.iter().find(|name| suites.iter().all(|suite| suite.name != **name))
    {
        bail!("there is no suite {unknown}; --list names them");
    }
    suites.retain(|suite| {
        let named = arguments.only.iter().any(|name| name == suite.name);
        suite.places.contains(&place)
            && (named || arguments.only.is_empty() && !(arguments.short && suite.long))
    });
    Ok(suites)
}

/// All jobs of a suite.
fn one(runner: &Runner, suite: &Suite, place: Place, plan: &Plan) -> Result<Outcomes> {
    for skipped in &plan.skipped {
        println!("skipped: {}: {skipped}", suite.name);
    }
    let known: Vec<_> = explained::all().filter(|known| known.is_of(suite.name, place)).collect();
    let mut all = Outcomes::default();
    step(suite.name, || {
        for job in &plan.jobs {
            let outcomes = compare::job(runner, suite.name, job, plan.together, &known)
                .with_context(|| format!("{}: {}", suite.name, job.name))?;
            report::tell(suite.name, &outcomes);
            all.add(outcomes);
        }
        Ok(())
    })?;
    report::tell_unseen(suite.name, place, &all);
    Ok(all)
}

fn counts(outcomes: &Outcomes) -> Tally {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let failed = outcomes.differences.len();
    Tally {
        passed: number(outcomes.tests.saturating_sub(failed)),
        failed: number(failed),
        skipped: number(outcomes.skipped),
    }
}

//! Runs checks and suites one after the other, with their time, and counts.

use std::io::{BufRead, BufReader, Read, Write, stdout};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::leftovers;
use super::tally::Tally;

/// What has been run so far.
pub struct Runner {
    started: Instant,
    tally: Tally,
    /// What failed, to be named once more at the end.
    failed: Vec<String>,
}

impl Runner {
    pub fn new() -> Self {
        leftovers::adopt();
        Runner { started: Instant::now(), tally: Tally::default(), failed: Vec::new() }
    }

    /// One command that is one test: silent, unless it fails.
    pub fn check(&mut self, name: &str, mut command: Command) {
        let since = Instant::now();
        self.say(&format!("{name} …"));
        let outcome =
            command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}")).and_then(
                |output| match output.status.success() {
                    true => Ok(()),
                    false => bail!("{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat())),
                },
            );
        match outcome {
            Ok(()) => {
                self.tally.passed += 1;
                println!("ok: {name} ({:.1} s)", since.elapsed().as_secs_f64());
            }
            Err(error) => self.fail(name, &error),
        }
    }

    /// A command with many tests: its output is shown as it comes, and its result lines counted.
    pub fn suite(&mut self, name: &str, command: Command) {
        let since = Instant::now();
        self.say(&format!("{name} …"));
        match stream(command) {
            Ok(counts) => {
                self.tally += counts;
                let seconds = since.elapsed().as_secs_f64();
                if counts.failed > 0 {
                    self.failed.push(format!("{name}: {counts}"));
                }
                println!("{name}: {counts} ({seconds:.1} s)");
            }
            Err(error) => self.fail(name, &error),
        }
    }

    pub fn skip(&mut self, name: &str, need: &str) {
        self.tally.skipped += 1;
        println!("skipped: {name}: needs {need}");
    }

    pub fn fail(&mut self, name: &str, error: &anyhow::Error) {
        self.tally.failed += 1;
        self.failed.push(name.to_owned());
        println!("FAILED: {name}\n{error:#}");
    }

    /// Names what failed once more, so that nobody has to scroll; the counts.
    pub fn finish(self) -> Tally {
        for name in &self.failed {
            println!("failed: {name}");
        }
        self.tally
    }

    fn say(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        println!("[{:02}:{:02}] {text}", seconds / 60, seconds % 60);
        let _ = stdout().flush();
    }
}

/// How long what a suite has started may go on after its end.
const GRACE: Duration = Duration::from_secs(10);

/// Shows a command's output, both kinds in the order in which they are written, and counts what its result lines say.
fn stream(mut command: Command) -> Result<Tally> {
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    // It holds the pipe's other end, which has to be closed for the reader to see the end.
    drop(command);
    let shown = thread::spawn(move || show(reader));
    let is_success = leftovers::wait_for(&child)?;
    // What is left holds the pipe, maybe for ever.
    let left = leftovers::end(GRACE)?;
    let mut tally = shown.join().expect("it does not panic")?;
    for process in left {
        println!("FAILED: left behind, and killed now: {process}");
        tally.failed += 1;
    }
    if !is_success && tally.failed == 0 {
        bail!("it failed, and no test did: it did not come that far");
    }
    Ok(tally)
}

fn show(output: impl Read) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let _ = stdout().write_all(&line);
        if let Some(counts) = Tally::of_line(&String::from_utf8_lossy(&line)) {
            tally += counts;
        }
        line.clear();
    }
    Ok(tally)
}

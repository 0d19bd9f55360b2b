//! The program in benches/calls, behind a prefix.

use super::competitors::{behind, output};
use super::programs::Program;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// How the program is to run.
#[derive(Debug, Clone)]
pub struct Guest {
    pub program: PathBuf,
    pub scratch: PathBuf,
    /// Where statfs is asked.
    pub mount: PathBuf,
    /// Per call.
    pub milliseconds: u64,
}

/// One line of its output.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    pub call: String,
    pub nanoseconds: f64,
    /// The tracer's CPU time per call in nanoseconds; for sleeping threads, its resident KiB.
    pub tracer: Option<f64>,
}

impl Guest {
    pub fn calls(&self, prefix: &[OsString], calls: &[&str]) -> Result<Vec<Timing>> {
        let milliseconds = self.milliseconds.to_string();
        let mut words: Vec<OsString> = vec![self.program.clone().into(), "calls".into()];
        words.extend(["--scratch".into(), self.scratch.clone().into()]);
        words.extend(["--mount".into(), self.mount.clone().into()]);
        let results = self.scratch.join("results");
        words.extend(["--output".into(), results.clone().into()]);
        words.extend(["--milliseconds".into(), milliseconds.into()]);
        words.extend(calls.iter().map(OsString::from));
        output(&mut behind(prefix, words)?)?;
        take(&results)
    }

    /// How long a whole program takes, below a prefix that is there already. Milliseconds.
    pub fn program(&self, prefix: &[OsString], program: &Program) -> Result<f64> {
        let results = self.scratch.join("results");
        let mut words: Vec<OsString> = vec![self.program.clone().into(), "program".into()];
        words.extend(["--output".into(), results.clone().into()]);
        words.extend(program.one_is_fine.then(|| "--one-is-fine".into()));
        words.push("--".into());
        words.extend(program.words.iter().map(OsString::from));
        let mut command = behind(prefix, words)?;
        command.current_dir(&program.folder).envs(program.environment.iter().cloned());
        output(&mut command)?;
        let timing = take(&results)?.into_iter().next().context("bench-calls program said nothing")?;
        Ok(timing.nanoseconds / 1e6)
    }

    /// The time of an open beside sleeping threads (`threads`), or of threads that open `at-once`.
    pub fn threads(&self, prefix: &[OsString], how: &str, count: usize) -> Result<Timing> {
        let words = [self.program.clone().into(), how.into(), count.to_string().into()];
        let timings = parse(&output(&mut behind(prefix, words)?)?)?;
        timings.into_iter().next().context("bench-calls threads printed nothing")
    }
}

/// The file system that a mapping names has to be mounted, or must not be: as /proc tells.
pub fn mounted(fstype: &str) -> Option<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let line = table.lines().find(|line| line.split(' ').nth(2) == Some(fstype))?;
    line.split(' ').nth(1).filter(|point| Path::new(point).is_dir()).map(PathBuf::from)
}

/// What the program has left in a file.
fn take(results: &Path) -> Result<Vec<Timing>> {
    let text = fs::read_to_string(results).with_context(|| results.display().to_string())?;
    fs::remove_file(results)?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Timing>> {
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            let (call, time, tracer) = (words.next(), words.next(), words.next());
            let nanoseconds = time.and_then(|t| t.parse().ok());
            let (Some(call), Some(nanoseconds)) = (call, nanoseconds) else {
                anyhow::bail!("bench-calls printed: {line}");
            };
            Ok(Timing { call: call.to_owned(), nanoseconds, tracer: tracer.and_then(|t| t.parse().ok()) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_call_a_time_and_perhaps_a_tracers_time() -> Result<()> {
        let timings = parse("getppid 163.5 -\nopen 13000 7000.5\n")?;
        assert_eq!(timings[0].tracer, None);
        assert_eq!(timings[1], Timing { call: "open".into(), nanoseconds: 13000.0, tracer: Some(7000.5) });
        assert!(parse("proot warning: something").is_err());
        Ok(())
    }
}

//! What a suite is: programs of others, each run twice, and what is read off what they say.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;

use crate::tools::Cache;

/// Where both runs take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Linux,
    /// Today's gVisor: there, bare gVisor is the measure.
    Gvisor,
}

/// Tests that belong together: a row of the table.
pub struct Suite {
    pub name: &'static str,
    /// What is tested, for `--list` and the document.
    pub about: &'static str,
    /// Left out of the short form.
    pub long: bool,
    pub places: &'static [Place],
    /// Finds what the suite needs, builds what is to be built, and says what to run. Nothing in it is measured.
    pub make: fn(&Context) -> Result<Plan, Missing>,
}

/// What this machine lacks for a suite, by name.
pub struct Missing(pub String);

/// Any error while a plan is made means that something can't be had here.
impl From<anyhow::Error> for Missing {
    fn from(error: anyhow::Error) -> Self {
        Missing(format!("{error:#}"))
    }
}

/// What a suite's `make` may ask for.
pub struct Context<'a> {
    pub place: Place,
    /// The short form: seconds, not minutes.
    pub short: bool,
    /// The suite's own folder: built programs may lie there. In gVisor it is at the same path.
    pub folder: &'a Path,
    pub cache: &'a Cache,
}

/// What a suite runs.
pub struct Plan {
    pub jobs: Vec<Job>,
    /// What was found here and is left out, by name.
    pub skipped: Vec<String>,
    /// Both runs of a job at the same time: for tests that mostly sleep, and share no port.
    pub together: bool,
}

/// One command, to be run bare and below the prefix, each in an empty folder of its own.
pub struct Job {
    /// The first part of its tests' names.
    pub name: String,
    pub words: Vec<OsString>,
    /// Beside PATH, HOME, TMPDIR (folders of this run), LANG and TERM, which every job has.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it has to run elsewhere than in its own folder. Both runs then share it: only for what reads there.
    pub folder: Option<PathBuf>,
    /// Puts files into the run's own folder.
    pub fill: Option<Fill>,
    /// A run that takes longer is ended, and the test that it was at has hung.
    pub limit: Duration,
    pub read: Reader,
    /// The words that run one test again; without it, the whole job is run again.
    pub again: Option<Again>,
    /// `--map` arguments instead of the place's own.
    pub maps: Option<Vec<String>>,
}

pub type Fill = Box<dyn Fn(&Path) -> Result<()> + Send + Sync>;
/// Verdicts by the names of the tests.
pub type Reader = Box<dyn Fn(&Finished) -> Verdicts + Send + Sync>;
pub type Again = Box<dyn Fn(&str) -> Vec<OsString> + Send + Sync>;
pub type Verdicts = BTreeMap<String, Verdict>;

/// What a run left.
pub struct Finished {
    pub stdout: String,
    pub stderr: String,
    /// Nothing where it was ended at its limit.
    pub status: Option<ExitStatus>,
    pub took: Duration,
    /// The run's own folder, until the verdicts are read.
    pub folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
    /// It was running when the job's time was over.
    Hung,
}

/// How one test ended.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Has to be the same in both runs, too.
    pub said: Option<String>,
    /// For people only: why it failed.
    pub detail: String,
}

impl Verdict {
    pub fn new(outcome: Outcome) -> Self {
        Verdict { outcome, said: None, detail: String::new() }
    }

    pub fn detailed(outcome: Outcome, detail: impl Into<String>) -> Self {
        Verdict { detail: detail.into(), ..Verdict::new(outcome) }
    }

    pub fn agrees(&self, other: &Verdict) -> bool {
        self.outcome == other.outcome && self.said == other.said
    }
}

impl Job {
    /// A job with nothing special.
    pub fn new<W: Into<OsString>>(
        name: impl Into<String>,
        words: impl IntoIterator<Item = W>,
        limit: Duration,
        read: impl Fn(&Finished) -> Verdicts + Send + Sync + 'static,
    ) -> Self {
        Job {
            name: name.into(),
            words: words.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            folder: None,
            fill: None,
            limit,
            read: Box::new(read),
            again: None,
            maps: None,
        }
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub fn fill(mut self, fill: impl Fn(&Path) -> Result<()> + Send + Sync + 'static) -> Self {
        self.fill = Some(Box::new(fill));
        self
    }

    pub fn again(mut self, again: impl Fn(&str) -> Vec<OsString> + Send + Sync + 'static) -> Self {
        self.again = Some(Box::new(again));
        self
    }

    pub fn maps(mut self, maps: &[&str]) -> Self {
        self.maps = Some(maps.iter().map(|map| (*map).to_owned()).collect());
        self
    }
}

impl Plan {
    pub fn new(jobs: Vec<Job>) -> Self {
        Plan { jobs, skipped: Vec::new(), together: false }
    }
}

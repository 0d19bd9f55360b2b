//! One run of one job: bare or below the prefix, on Linux or in gVisor, in namespaces of its own, so that whatever it
//! starts ends with it and whatever it mounts is its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::suite::{Finished, Job, Place, Verdicts};
use crate::tools::{last_lines, run};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Bare,
    Below,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Bare => "bare",
            Way::Below => "below",
        }
    }
}

/// What a run is made of, beside the job.
pub struct Runner {
    launcher: PathBuf,
    runsc: Option<PathBuf>,
    maps: Vec<String>,
    options: Vec<String>,
    scratch: tempfile::TempDir,
    count: AtomicU32,
}

pub struct Run {
    pub verdicts: Verdicts,
    /// Whether it ended by itself.
    pub ended: bool,
    pub took: Duration,
    /// The end of its output, for people.
    pub said: String,
    /// How often the tracer was asked, and how often it changed an answer.
    pub stops: u64,
    pub rewritten: u64,
}

/// The first process of the run: it has a child, as a login shell would, takes in orphans, and leaves time for the
/// launcher's summary where something goes on in the background. `$0` is the log, or empty.
const INIT: &str = r#""$@"; s=$?; n=0
while [ -n "$0" ] && [ ! -s "$0" ] && [ $n -lt 30 ]; do sleep 0.1; n=$((n+1)); done; exit $s"#;

/// A session and namespaces of its own; all of it ends with this program.
const OWN_NAMESPACES: &[&str] = &[
    "setsid",
    "setpriv",
    "--pdeathsig=KILL",
    "prlimit",
    "--fsize=4294967296", // a test that runs wild must not fill the disk
    "unshare",
    "--pid",
    "--fork",
    "--kill-child=KILL",
    "--mount",
    "--ipc",
    "--mount-proc",
];

impl Runner {
    pub fn new(
        place: Place,
        launcher: PathBuf,
        runsc: Option<PathBuf>,
        options: Vec<String>,
    ) -> Result<Self> {
        // Short: paths of sockets have 108 bytes.
        let scratch = tempfile::Builder::new().prefix("parity-").tempdir()?;
        let maps = match place {
            Place::Linux => vec![mapping_of(scratch.path(), &launcher)?],
            Place::Gvisor => vec!["9p=ext4".to_owned()],
        };
        let runner = Runner { launcher, runsc, maps, options, scratch, count: 0.into() };
        run(Command::new(OWN_NAMESPACES[0]).args(&OWN_NAMESPACES[1..]).arg("true")).context(
            "namespaces of its own for each run: this needs root, and setsid, setpriv, unshare of util-linux",
        )?;
        Ok(runner)
    }

    /// Where all runs, and what is built for them, have their folders.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The prefix as it is, for people.
    pub fn prefix(&self) -> String {
        let maps = self.maps.iter().map(|map| format!(" --map {map}")).collect::<String>();
        let options = self.options.iter().map(|option| format!(" {option}")).collect::<String>();
        format!("fsmasq --profile none{maps}{options} --")
    }

    /// Runs the job, or other words in its place, and reads the verdicts.
    pub fn run(&self, job: &Job, words: &[OsString], limit: Duration, way: Way) -> Result<Run> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = self.scratch().join(format!("{number}"));
        let [own, temporary, home] = ["work", "tmp", "home"].map(|name| folder.join(name));
        for each in [&own, &temporary, &home] {
            fs::create_dir_all(each)?;
        }
        if let Some(fill) = &job.fill {
            fill(&own).with_context(|| format!("preparing {}", job.name))?;
        }
        let log = folder.join("log");
        let mut all: Vec<OsString> = OWN_NAMESPACES.iter().map(OsString::from).collect();
        if let Some(runsc) = &self.runsc {
            all.extend(self.sandbox(runsc, &folder)?);
        }
        all.extend(["sh".into(), "-c".into(), INIT.into()]);
        all.push(if way == Way::Below { log.clone().into() } else { "".into() });
        if way == Way::Below {
            all.extend(self.launch(job, &log));
        }
        all.extend(words.iter().cloned());

        let [out, err] = ["out", "err"].map(|name| folder.join(name));
        let mut command = Command::new(&all[0]);
        command
            .args(&all[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()))
            .env("HOME", &home)
            .env("TMPDIR", &temporary)
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .envs(job.environment.iter().cloned())
            .current_dir(job.folder.as_ref().unwrap_or(&own))
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?);
        let since = Instant::now();
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let status = wait(&mut child, limit)?;
        let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let finished =
            Finished { stdout: text(&out)?, stderr: text(&err)?, status, took: since.elapsed(), folder: own };
        if way == Way::Below && status.is_some_and(|status| status.code() == Some(125)) {
            bail!("the launcher failed: {}", finished.stderr);
        }
        let (stops, rewritten) = text(&log).map(|text| counts(&text)).unwrap_or_default();
        let verdicts = (job.read)(&finished);
        remove(&folder);
        let said = last_lines(&format!("{}{}", finished.stdout, finished.stderr), 20);
        Ok(Run { verdicts, ended: status.is_some(), took: finished.took, said, stops, rewritten })
    }

    fn launch(&self, job: &Job, log: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![self.launcher.clone().into()];
        words.extend(["--summary", "--log-format=json", "--profile=none", "--log-file"].map(Into::into));
        words.push(log.into());
        for map in job.maps.as_ref().unwrap_or(&self.maps) {
            words.extend(["--map".into(), map.into()]);
        }
        words.extend(self.options.iter().map(Into::into));
        words.push("--".into());
        words
    }

    /// This machine's root, and the scratch folder, as 9p mounts.
    fn sandbox(&self, runsc: &Path, folder: &Path) -> Result<Vec<OsString>> {
        let state = folder.join("runsc");
        fs::create_dir(&state)?;
        let volume = format!("--volume={0}:{0}", self.scratch().display());
        let mut words: Vec<OsString> = vec![runsc.into(), "--root".into(), state.into()];
        words.extend(
            ["--platform=systrap", "--overlay2=none", "--network=none", "--ignore-cgroups", "do"]
                .map(Into::into),
        );
        // Otherwise everything is below an overlay, and no 9p is seen.
        words.extend(["--force-overlay=false".into(), volume.into(), "--".into()]);
        Ok(words)
    }
}

/// A mapping that really applies here: of the type on which the runs' folders are.
fn mapping_of(folder: &Path, launcher: &Path) -> Result<String> {
    let mut findmnt = Command::new("findmnt");
    findmnt.args(["--noheadings", "--output=FSTYPE", "--target"]).arg(folder);
    let found = run(&mut findmnt).context("the type of the scratch folder's file system")?;
    let found = String::from_utf8_lossy(&found).trim().to_owned();
    let shown_as = if found.starts_with("ext") { "xfs" } else { "ext4" };
    let mapping = format!("{found}={shown_as}");
    let mut probe = Command::new(launcher);
    probe.args(["--profile=none", "--map", &mapping, "--", "true"]);
    match run(&mut probe) {
        Ok(_) => Ok(mapping),
        Err(_) => Ok("9p=ext4".to_owned()),
    }
}

/// Nothing where it had to be ended.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait()? {
            // As sh says it of a signal.
            let status = match status.code() {
                Some(code @ 129..=192) => ExitStatus::from_raw(code - 128),
                _ => status,
            };
            return Ok(Some(status));
        }
        if Instant::now() > until {
            // It is unshare, whose child is the init of the run's namespace: all of it ends.
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Stops, and rewritten calls, of the launcher's summary.
fn counts(log: &str) -> (u64, u64) {
    let Some(summary) = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["message"] == "summary")
    else {
        return (0, 0);
    };
    let rewritten = summary["rewritten"].as_object().into_iter().flat_map(|programs| programs.values());
    let calls = rewritten.filter_map(|program| program.as_object()).flat_map(|calls| calls.values());
    (summary["stops"].as_u64().unwrap_or(0), calls.filter_map(serde_json::Value::as_u64).sum())
}

/// What can't be removed at once is left for the end.
fn remove(folder: &Path) {
    if fs::remove_dir_all(folder).is_err() {
        // Tests of permissions may leave folders that nobody may enter.
        let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(folder).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_found_among_other_lines() {
        let log = "{\"message\":\"other\"}\n{\"message\":\"summary\",\"rewritten\":\
                   {\"df\":{\"openat\":2,\"statfs\":2},\"ls\":{\"statfs\":1}},\"stops\":153}\n";
        assert_eq!(counts(log), (153, 5));
        assert_eq!(counts(""), (0, 0));
    }
}

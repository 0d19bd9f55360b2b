//! One running sandbox: started, waited for, asked things, stopped by its id.

use std::fs::{self, OpenOptions};
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bundle::Bundle;
use super::node_log;
use super::setup::Workload;
use super::spec::runsc_flags;

pub struct Sandbox<'a> {
    bundle: &'a Bundle<'a>,
    id: String,
    process: Child,
    started: Instant,
    /// The log's length at the start: what came before is of an earlier sandbox.
    log_start: u64,
    left_running: bool,
}

const READY_LIMIT: Duration = Duration::from_secs(180);
const DEATH_LIMIT: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

static COUNT: AtomicU32 = AtomicU32::new(0);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C ends what is waited for, so that the sandbox is stopped and its directory removed.
pub fn stop_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .context("installing a handler for Ctrl-C")
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

impl<'a> Sandbox<'a> {
    pub fn start(bundle: &'a Bundle) -> Result<Self> {
        // runsc's state directories are per run, so the id needs to be unique in this process only.
        let id = format!("node-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let state = state_folder(bundle);
        fs::create_dir_all(&state)?;
        let log_start = fs::metadata(bundle.node_log())?.len();
        // Appending: the sandbox and this machine would otherwise each write at an offset of their own.
        let log = OpenOptions::new().append(true).open(bundle.node_log())?;
        let mut command = runsc(bundle);
        command
            .args(["run", "--bundle"])
            .arg(bundle.folder())
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0); // a Ctrl-C is for this program, which stops the sandbox in order
        let started = Instant::now();
        let process = command.spawn().with_context(|| format!("starting {command:?}"))?;
        Ok(Self { bundle, id, process, started, log_start, left_running: false })
    }

    /// Waits until the node says that it is Ready; the time is counted from the sandbox's start.
    pub fn wait_until_ready(&mut self) -> Result<Duration> {
        while self.started.elapsed() < READY_LIMIT {
            if self.says_ready()? {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "the sandbox ended ({status}) before the node was Ready; the end of {}:\n{}",
                    self.bundle.node_log().display(),
                    self.last_words()
                );
            }
            pause()?;
        }
        bail!(
            "the node is not Ready after {} s; the end of {}:\n{}",
            READY_LIMIT.as_secs(),
            self.bundle.node_log().display(),
            self.last_words()
        )
    }

    fn says_ready(&self) -> Result<bool> {
        match self.bundle.setup().workload {
            Workload::Node => {
                let log = node_log::read_from(self.bundle, self.log_start)?;
                Ok(log.lines().any(|line| line.starts_with("node: Ready after ")))
            }
            Workload::K3s => {
                let output = self.exec(&["kubectl", "get", "nodes", "--no-headers"]).output()?;
                Ok(String::from_utf8_lossy(&output.stdout).contains(" Ready "))
            }
        }
    }

    /// Waits until the sandbox has ended by itself, and says how.
    pub fn wait_until_dead(&mut self) -> Result<String> {
        while self.started.elapsed() < DEATH_LIMIT {
            if let Some(status) = self.process.try_wait()? {
                return Ok(format!(
                    "{status}, {:.1} s after the start",
                    self.started.elapsed().as_secs_f64()
                ));
            }
            if self.says_ready()? {
                bail!("the node was expected to die, but is Ready: {}", self.bundle.setup());
            }
            pause()?;
        }
        bail!(
            "the node neither died nor was Ready within {} s; the end of {}:\n{}",
            DEATH_LIMIT.as_secs(),
            self.bundle.node_log().display(),
            self.last_words()
        )
    }

    /// A command that is run in the sandbox, beside the node's tree: not below the prefix.
    pub fn exec(&self, words: &[&str]) -> Command {
        let mut command = runsc(self.bundle);
        command.arg("exec").arg(&self.id).args(words);
        command
    }

    /// A prompt in the sandbox, until the user leaves it.
    pub fn shell(&self) -> Result<()> {
        if std::io::stdin().is_terminal() {
            println!(
                "A shell beside the node, which is not below the prefix. kubectl works; leave with exit or Ctrl-D."
            );
        }
        let status = self.exec(&["sh"]).status().context("starting a shell in the sandbox")?;
        println!("the shell ended: {status}");
        Ok(())
    }

    /// Asks the node to stop, and wants it to end with success.
    pub fn stop(&mut self) -> Result<String> {
        let asked = Instant::now();
        self.kill("TERM")?;
        while asked.elapsed() < STOP_LIMIT {
            if let Some(status) = self.process.try_wait()? {
                return clean_end(status, asked.elapsed()).with_context(|| {
                    format!("the end of {}:\n{}", self.bundle.node_log().display(), self.last_words())
                });
            }
            sleep(PAUSE); // also after an interrupt: this is how it is obeyed
        }
        bail!(
            "the node still runs {} s after SIGTERM; the end of {}:\n{}",
            STOP_LIMIT.as_secs(),
            self.bundle.node_log().display(),
            self.last_words()
        )
    }

    /// The node goes on after this program; returns how to reach it.
    pub fn leave_running(&mut self) -> String {
        self.left_running = true;
        let runsc = self.bundle.programs().runsc.display();
        let state = state_folder(self.bundle);
        let (state, id, folder) = (state.display(), &self.id, self.bundle.folder().display());
        format!(
            "The node goes on. To reach it:\n  \
             {runsc} --root {state} exec {id} sh\n  \
             {runsc} --root {state} exec {id} kubectl get pods --all-namespaces\n\
             To end it:\n  {runsc} --root {state} kill {id} TERM\n  \
             umount {pinned}; rm -r {folder}",
            pinned = pinned_namespace(self.bundle).display()
        )
    }

    fn kill(&self, signal: &str) -> Result<()> {
        let output = runsc(self.bundle).args(["kill", &self.id, signal]).output()?;
        if !output.status.success() {
            bail!("sending SIG{signal} to the sandbox: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        node_log::tail(self.bundle, 15)
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        if self.left_running {
            return;
        }
        if matches!(self.process.try_wait(), Ok(None)) {
            // Failing means that it has just ended.
            let _ = self.kill("KILL");
        }
        let _ = self.process.wait();
        // Removes what a killed sandbox has left of itself: its gofer, and files in the state directory.
        let _ = runsc(self.bundle).args(["delete", "--force", &self.id]).output();
        let _ = Command::new("umount").arg(pinned_namespace(self.bundle)).output();
    }
}

fn clean_end(status: ExitStatus, time: Duration) -> Result<String> {
    if status.success() {
        return Ok(format!("{status}, after {:.1} s", time.as_secs_f64()));
    }
    bail!("the node ended with {status}, not with success");
}

fn state_folder(bundle: &Bundle) -> PathBuf {
    bundle.folder().join("runsc")
}

/// runsc mounts an empty network namespace in its state directory, for all sandboxes without a network, and leaves it
/// there; the directory can't be removed before that is unmounted.
fn pinned_namespace(bundle: &Bundle) -> PathBuf {
    state_folder(bundle).join("null-netns")
}

fn runsc(bundle: &Bundle) -> Command {
    let program: &Path = &bundle.programs().runsc;
    let mut command = Command::new(program);
    command.arg("--root").arg(state_folder(bundle)).args(runsc_flags(bundle.setup().cgroup));
    command
}

fn pause() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    sleep(PAUSE);
    Ok(())
}

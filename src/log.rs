//! What was rewritten: lines for people and programs, and the summary at the end.

use crate::arch::Call;
use crate::fast_path::Sites;
use crate::held;
use crate::ptrace::Tid;
use crate::status::Status;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// How much is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    #[default]
    Quiet,
    /// A line for each rewritten call.
    Calls,
    /// Tasks that come and go as well, and injected calls.
    Tasks,
}

/// A call that was rewritten.
pub struct Rewritten<'a> {
    pub tid: Tid,
    pub call: Call,
    /// The path or descriptor; only asked for where somebody reads it.
    pub object: &'a dyn Fn() -> String,
    pub was: &'a str,
    pub is: &'a str,
}

/// Programs that the summary tells apart: a program may change its name at any time.
const PROGRAMS: usize = 1000;
/// What all others count as.
const OTHERS: &str = "(others)";
/// Obstacles of programs that are remembered, and so told, at the most.
const OBSTACLES: usize = 1000;
/// Decides over `-v`; RUST_LOG is the command's own.
const VARIABLE: &str = "FSMASQ_LOG";

/// Counts, for the summary.
#[derive(Debug, Default)]
pub struct Statistics {
    per_program: RefCell<BTreeMap<String, BTreeMap<&'static str, u64>>>,
    stops: Cell<u64>,
    wanted: Cell<bool>,
}

impl Statistics {
    /// Counts from now on.
    pub fn want(&self) {
        self.wanted.set(true);
    }

    pub fn count_stop(&self) {
        self.stops.set(self.stops.get() + 1);
    }

    /// Logs and counts a rewritten call.
    pub fn rewritten(&self, what: &Rewritten) {
        let logged = tracing::enabled!(tracing::Level::DEBUG);
        if !logged && !self.wanted.get() {
            return;
        }
        let program = program(what.tid);
        if logged {
            tracing::debug!(
                pid = process(what.tid),
                tid = what.tid.0,
                program,
                call = what.call.name(),
                object = (what.object)(),
                was = what.was,
                is = what.is,
                "rewritten"
            );
        }
        if self.wanted.get() {
            self.count(program, what.call.name());
        }
    }

    fn count(&self, program: String, call: &'static str) {
        let mut programs = self.per_program.borrow_mut();
        let is_room = programs.len() < PROGRAMS || programs.contains_key(&program);
        let program = if is_room { program } else { OTHERS.to_owned() };
        *programs.entry(program).or_default().entry(call).or_default() += 1;
    }

    /// The summary: a table for people, or one line for programs.
    pub fn summary(&self, format: Format, sites: Sites) -> String {
        match format {
            Format::Text => self.table(sites),
            Format::Json => {
                let line = serde_json::json!({
                    "message": "summary",
                    "rewritten": *self.per_program.borrow(),
                    "stops": self.stops.get(),
                    "sites": sites,
                    "tracer_cpu_seconds": own_cpu_time().as_secs_f64(),
                });
                format!("{line}\n")
            }
        }
    }

    fn table(&self, sites: Sites) -> String {
        let mut text = String::from("fsmasq: calls rewritten per program\n");
        let programs = self.per_program.borrow();
        if programs.is_empty() {
            text.push_str("  none\n");
        }
        for (program, calls) in programs.iter() {
            let program = printable(program);
            for (call, count) in calls {
                let _ = writeln!(text, "  {program:<16} {call:<12} {count:>8}");
            }
        }
        let _ = writeln!(
            text,
            "fsmasq: {} stops, {:.3} s of CPU time of the tracer",
            self.stops.get(),
            own_cpu_time().as_secs_f64()
        );
        let _ = writeln!(
            text,
            "fsmasq: {} sites of opens patched to pass without a stop, {} left as they are",
            sites.patched, sites.left
        );
        text
    }
}

/// User and system time of this process.
fn own_cpu_time() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|t| {
            let micros = t.tv_sec().saturating_mul(1_000_000).saturating_add(t.tv_usec());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        })
        .sum()
}

/// The name of the program that a task runs, as in /proc/TID/comm: 15 bytes at the most.
pub fn program(tid: Tid) -> String {
    fs::read(format!("{tid}/comm"))
        .map_or_else(|_| "?".to_owned(), |name| String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
}

/// The process that a task belongs to; the task's own id where that can't be read.
fn process(tid: Tid) -> i32 {
    Status::of(tid).and_then(|status| status.number("Tgid")).unwrap_or(tid.0)
}

thread_local! {
    static TOLD: RefCell<HashSet<(String, &'static str)>> = RefCell::default();
}

/// Whether an obstacle is to be told of: once per program, or what polls a table would fill the log.
pub fn is_news(program: &str, obstacle: &'static str) -> bool {
    TOLD.with_borrow_mut(|told| told.len() < OBSTACLES && told.insert((program.to_owned(), obstacle)))
}

/// A text without control characters: programs choose their names and paths, and must neither forge lines of
/// the log nor act on a terminal.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Starts logging, to `file` or else to stderr. `FSMASQ_LOG` decides over `verbosity` where it is set.
pub fn start(verbosity: Verbosity, format: Format, file: Option<File>) {
    let level = match verbosity {
        Verbosity::Quiet => "warn",
        Verbosity::Calls => "debug",
        Verbosity::Tasks => "trace",
    };
    let wanted = std::env::var(VARIABLE).ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let filter = wanted.unwrap_or_else(|| EnvFilter::new(level));
    let target = Target { file: file.map(Arc::new), format };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(target);
    // Fails only where the process has a logger already: then that one is right.
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Where lines go. A line that can't be written at once is dropped: nobody who reads slowly, or has a
/// full disk, may stall the tracees.
#[derive(Debug, Clone)]
struct Target {
    /// None: stderr.
    file: Option<Arc<File>>,
    format: Format,
}

impl<'a> MakeWriter<'a> for Target {
    type Writer = Target;

    fn make_writer(&'a self) -> Target {
        self.clone()
    }
}

impl Write for Target {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = match self.format {
            Format::Text => shown(&text),
            // It has escapes of its own.
            Format::Json => text,
        };
        match &self.file {
            None => write_if_ready(io::stderr().as_fd(), text.as_bytes()),
            Some(file) => write_if_ready(file.as_fd(), text.as_bytes()),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line as it is written: its end is the only line end in it.
fn shown(line: &str) -> Cow<'_, str> {
    let text = line.strip_suffix('\n').unwrap_or(line);
    match printable(text) {
        Cow::Borrowed(_) => Cow::Borrowed(line),
        Cow::Owned(text) => Cow::Owned(text + "\n"),
    }
}

/// Writes what can be written without waiting. poll(2) promises room for PIPE_BUF bytes in a pipe, and no
/// more, so it is asked before each part.
fn write_if_ready(fd: BorrowedFd, line: &[u8]) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let opened = match held::open_for_a_line(fd) {
        Some(Ok(opened)) => Some(opened),
        Some(Err(_)) => return,
        None => None,
    };
    let fd = opened.as_ref().map_or(fd, File::as_fd);
    for part in line.chunks(libc::PIPE_BUF) {
        let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
        let ready = matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
            && fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT));
        if !ready || nix::unistd::write(fd, part).is_err() {
            return;
        }
    }
}

/// Writes a text of the tracer's own to stderr, under the same condition.
pub fn say(text: &str) {
    write_if_ready(io::stderr().as_fd(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_moves_no_cursor() {
        assert_eq!(shown("WARN a path\n"), "WARN a path\n");
        assert_eq!(shown("a\nERROR forged\u{1b}[31m\u{9b}\n"), "a\\nERROR forged\\u{1b}[31m\\u{9b}\n");
        assert_eq!(printable("it's \\ \"quoted\""), "it's \\ \"quoted\"");
    }

    #[test]
    fn the_summary_tells_only_so_many_programs_apart() {
        let statistics = Statistics::default();
        for number in 0..PROGRAMS + 10 {
            statistics.count(format!("worker-{number}"), "statfs");
        }
        statistics.count("worker-0".into(), "statfs");
        let programs = statistics.per_program.borrow();
        assert_eq!(
            (programs.len(), programs[OTHERS]["statfs"], programs["worker-0"]["statfs"]),
            (PROGRAMS + 1, 10, 2)
        );
        drop(programs);
        statistics.count("\u{1b}[31mred\n x".into(), "open");
        assert!(
            !statistics.table(Sites::default()).contains('\u{1b}')
                && !statistics.table(Sites::default()).contains("\n x")
        );
    }

    #[test]
    fn an_obstacle_is_told_once_per_program() {
        assert!(is_news("a", "x") && is_news("a", "y") && is_news("b", "x"));
        assert!(!is_news("a", "x") && !is_news("b", "x"));
        for number in 0..OBSTACLES {
            is_news(&number.to_string(), "x");
        }
        assert!(!is_news("one too many", "x"));
    }
}

//! Single calls under each competitor.

use super::Settings;
use super::competitors::{ALL, Competitor, Tools};
use super::grid::Grid;
use super::guest::{Guest, mounted};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::PathBuf;

/// A row of the table.
struct Row {
    /// The call's name in benches/calls.
    call: &'static str,
    /// Whether the rules find something to rewrite.
    rewritten: bool,
    title: &'static str,
}

const fn row(call: &'static str, rewritten: bool, title: &'static str) -> Row {
    Row { call, rewritten, title }
}

const ROWS: &[Row] = &[
    row("getppid", false, "getppid (no stop)"),
    row("open-create", false, "open to write, close (no stop)"),
    row("open", false, "open, close"),
    row("open-missing", false, "open, ENOENT"),
    row("statfs", false, "statfs"),
    row("fstatfs", false, "fstatfs"),
    row("statfs", true, "statfs, rewritten"),
    row("mountinfo", false, "read mountinfo"),
    row("mountinfo", true, "read mountinfo, rewritten"),
    row("spawn", false, "start and end of true"),
];

pub const GETPPID: usize = 0;
pub const OPEN: usize = 2;
pub const MISSING: usize = 3;

/// What all competitors did.
pub struct Measured {
    /// Nanoseconds per call.
    pub time: Grid,
    /// Nanoseconds of the tracer's CPU time per call.
    pub tracer: Grid,
}

impl Measured {
    fn new() -> Self {
        let grid = || {
            let columns = ALL.iter().map(|competitor| competitor.name().to_owned());
            Grid::new(ROWS.iter().map(|row| row.title.to_owned()), columns)
        };
        Measured { time: grid(), tracer: grid() }
    }
}

/// Mappings for rows in which something, or nothing, is rewritten.
pub struct Mappings {
    pub rewriting: String,
    /// Where `rewriting` finds something.
    pub mount: PathBuf,
    pub idle: String,
}

impl Mappings {
    /// For what is mounted here: 9p, or otherwise a tmpfs.
    pub fn of_this_machine() -> Result<Self> {
        let (fstype, mount) = ["9p", "tmpfs"]
            .into_iter()
            .find_map(|fstype| Some((fstype, mounted(fstype)?)))
            .context("neither a 9p nor a tmpfs is mounted; mount -t tmpfs tmpfs /mnt is enough")?;
        let idle =
            ["9p", "ceph", "gfs2", "ocfs2", "afs"].into_iter().find(|fstype| mounted(fstype).is_none());
        let idle = idle.context("no type that is not mounted")?;
        Ok(Mappings { rewriting: format!("{fstype}=ext4"), mount, idle: format!("{idle}=ext4") })
    }

    fn get(&self, rewritten: bool) -> &str {
        if rewritten { &self.rewriting } else { &self.idle }
    }
}

/// Where the scheduler puts them, and with program and tracer on one CPU.
pub fn measure(tools: &Tools, settings: &Settings) -> Result<(Measured, Measured)> {
    let mappings = Mappings::of_this_machine()?;
    let scratch = tempfile::tempdir().context("a folder for scratch files")?;
    let guest = Guest {
        program: tools.guest.clone(),
        scratch: scratch.path().to_owned(),
        mount: mappings.mount.clone(),
        milliseconds: settings.milliseconds,
    };
    let pin = settings.pin();
    let (mut free, mut pinned) = (Measured::new(), Measured::new());
    for round in 0..settings.rounds {
        settings.progress("calls", round);
        for (column, competitor) in settings.in_turn(&ALL, round) {
            for rewritten in [false, true] {
                let prefix = competitor.prefix(tools, mappings.get(rewritten));
                for (pin, measured) in [(&[][..], &mut free), (&pin[..], &mut pinned)] {
                    run(&guest, &[pin, &prefix].concat(), rewritten, column, round, measured)
                        .with_context(|| competitor.name())?;
                }
            }
        }
    }
    Ok((free, pinned))
}

fn run(
    guest: &Guest,
    prefix: &[OsString],
    rewritten: bool,
    column: usize,
    round: u32,
    measured: &mut Measured,
) -> Result<()> {
    let rows: Vec<(usize, &Row)> =
        ROWS.iter().enumerate().filter(|(_, row)| row.rewritten == rewritten).collect();
    let calls: Vec<&str> = rows.iter().map(|(_, row)| row.call).collect();
    for ((row, _), timing) in rows.iter().zip(guest.calls(prefix, &calls)?) {
        measured.time.add(*row, column, round, timing.nanoseconds);
        if let Some(tracer) = timing.tracer {
            measured.tracer.add(*row, column, round, tracer);
        }
    }
    Ok(())
}

pub fn title(row: usize) -> &'static str {
    ROWS[row].title
}

/// The column of a competitor.
pub fn column(competitor: Competitor) -> usize {
    ALL.iter().position(|other| *other == competitor).unwrap_or_default()
}

//! Single calls in a gVisor sandbox: bare, and with the launcher in it.

use super::Settings;
use super::competitors::Competitor::{BareTracer, Fsmasq, FsmasqTrapped, Native};
use super::competitors::{Competitor, Tools};
use super::grid::Grid;
use super::guest::Guest;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::Path;

pub const BARE_TRACER: usize = 1;
pub const FSMASQ: usize = 2;
const COMPETITORS: [Competitor; 4] = [Native, BareTracer, Fsmasq, FsmasqTrapped];
pub const OPEN: usize = 1;
pub const MISSING: usize = 2;
const ROWS: [(&str, &str); 6] = [
    ("getppid", "getppid (no stop)"),
    ("open", "open, close"),
    ("open-missing", "open, ENOENT"),
    ("statfs", "statfs, rewritten"),
    ("mountinfo", "read mountinfo, rewritten"),
    ("spawn", "start and end of true"),
];

/// Nanoseconds per call.
pub fn measure(tools: &Tools, settings: &Settings, runsc: &Path) -> Result<Grid> {
    let columns = COMPETITORS.iter().map(|competitor| match competitor {
        Native => "bare".to_owned(),
        other => other.name().to_owned(),
    });
    let mut grid = Grid::new(ROWS.iter().map(|(_, title)| (*title).to_owned()), columns);
    let scratch = tempfile::tempdir().context("a folder for scratch files")?;
    let state = tempfile::tempdir().context("a folder for runsc's state")?;
    let guest = Guest {
        program: tools.guest.clone(),
        scratch: scratch.path().to_owned(),
        mount: "/".into(),
        milliseconds: settings.milliseconds,
    };
    let calls = ROWS.map(|(call, _)| call);
    for round in 0..settings.rounds {
        settings.progress("gVisor", round);
        for (column, competitor) in settings.in_turn(&COMPETITORS, round) {
            let prefix = [sandbox(runsc, state.path()), competitor.prefix(tools, "9p=ext4")].concat();
            for (row, timing) in guest.calls(&prefix, &calls)?.iter().enumerate() {
                grid.add(row, column, round, timing.nanoseconds);
            }
        }
    }
    Ok(grid)
}

/// A sandbox with the machine's own root as a real 9p mount.
fn sandbox(runsc: &Path, state: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![runsc.into(), "--root".into(), state.into()];
    let flags = ["--platform=systrap", "--overlay2=none", "--network=none", "--ignore-cgroups"];
    words.extend(flags.map(OsString::from));
    words.extend(["do", "--force-overlay=false"].map(OsString::from));
    words
}

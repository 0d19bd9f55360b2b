//! One trapped open beside many sleeping threads.

use super::Settings;
use super::competitors::Competitor::{Fsmasq, FsmasqTrapped, Native, Strace};
use super::competitors::{Competitor, Tools};
use super::grid::Grid;
use super::guest::Guest;
use anyhow::Result;
use std::path::PathBuf;

const COMPETITORS: [Competitor; 4] = [Native, Fsmasq, FsmasqTrapped, Strace];
const COUNTS: [usize; 3] = [10, 1_000, 5_000];
/// Threads that open at the same time.
const AT_ONCE: [usize; 6] = [1, 2, 4, 8, 16, 64];
/// The sleepers' start under strace takes seconds: more rounds than these are not worth it.
pub const ROUNDS: u32 = 5;

pub struct Measured {
    /// Nanoseconds of the open.
    pub time: Grid,
    /// The tracer's resident KiB.
    pub memory: Grid,
    /// Nanoseconds per open, of threads that open at once.
    pub at_once: Grid,
}

pub fn measure(tools: &Tools, settings: &Settings) -> Result<Measured> {
    let grid = |counts: &[usize]| {
        let columns = COMPETITORS.iter().map(|competitor| competitor.name().to_owned());
        Grid::new(counts.iter().map(|count| format!("{count} threads")), columns)
    };
    let mut measured = Measured { time: grid(&COUNTS), memory: grid(&COUNTS), at_once: grid(&AT_ONCE) };
    let guest = Guest {
        program: tools.guest.clone(),
        scratch: PathBuf::new(),
        mount: PathBuf::new(),
        milliseconds: settings.milliseconds,
    };
    let rounds = settings.rounds.min(ROUNDS);
    for round in 0..rounds {
        settings.progress("threads", round);
        for (row, count) in COUNTS.into_iter().enumerate() {
            for (column, competitor) in settings.in_turn(&COMPETITORS, round) {
                let timing = guest.threads(&competitor.prefix(tools, "9p=ext4"), "threads", count)?;
                measured.time.add(row, column, round, timing.nanoseconds);
                if let Some(memory) = timing.tracer {
                    measured.memory.add(row, column, round, memory);
                }
            }
        }
        for (row, count) in AT_ONCE.into_iter().enumerate() {
            for (column, competitor) in settings.in_turn(&COMPETITORS, round) {
                let timing = guest.threads(&competitor.prefix(tools, "9p=ext4"), "at-once", count)?;
                measured.at_once.add(row, column, round, timing.nanoseconds);
            }
        }
    }
    Ok(measured)
}

//! One trapped open beside many sleeping threads.

use super::Settings;
use super::competitors::Competitor::{Fsmasq, Native, Strace};
use super::competitors::{Competitor, Tools};
use super::grid::Grid;
use super::guest::Guest;
use anyhow::Result;
use std::path::PathBuf;

const COMPETITORS: [Competitor; 3] = [Native, Fsmasq, Strace];
const COUNTS: [usize; 3] = [10, 1_000, 5_000];
/// The sleepers' start under strace takes seconds: more rounds than these are not worth it.
pub const ROUNDS: u32 = 5;

pub struct Measured {
    /// Nanoseconds of the open.
    pub time: Grid,
    /// The tracer's resident KiB.
    pub memory: Grid,
}

pub fn measure(tools: &Tools, settings: &Settings) -> Result<Measured> {
    let grid = || {
        let columns = COMPETITORS.iter().map(|competitor| competitor.name().to_owned());
        Grid::new(COUNTS.iter().map(|count| format!("{count} threads")), columns)
    };
    let mut measured = Measured { time: grid(), memory: grid() };
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
                let timing = guest.threads(&competitor.prefix(tools, "9p=ext4"), count)?;
                measured.time.add(row, column, round, timing.nanoseconds);
                if let Some(memory) = timing.tracer {
                    measured.memory.add(row, column, round, memory);
                }
            }
        }
    }
    Ok(measured)
}

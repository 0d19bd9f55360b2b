//! A Kubernetes node in gVisor: from the start of its sandbox until it is Ready.

use super::Settings;
use super::grid::Grid;
use anyhow::Result;

pub const BARE: usize = 0;
pub const PREFIXED: usize = 1;
/// A node takes its time; its start varies little.
pub const ROUNDS: u32 = 5;

/// Seconds.
pub fn measure(settings: &Settings) -> Result<Grid> {
    let mut grid = Grid::new(["node Ready".into()], ["bare".into(), "fsmasq".into()]);
    for round in 0..settings.rounds.min(ROUNDS) {
        settings.progress("node", round);
        for (column, prefixed) in settings.in_turn(&[false, true], round) {
            let time = crate::cluster::time_to_ready(prefixed)?;
            grid.add(0, column, round, time.as_secs_f64());
        }
    }
    Ok(grid)
}

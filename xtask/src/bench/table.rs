//! Grids as Markdown tables.

use super::grid::{Grid, Spread};
use std::fmt::Write;

/// Ratios to the column `base`: the median, and the range of the rounds. The base's own values stand in
/// its column.
pub fn ratios(grid: &Grid, base: usize, unit: Unit) -> String {
    table(grid, |row, column| {
        if column == base {
            return grid.value(row, base).map(|spread| unit.show(spread.median));
        }
        grid.ratio(row, column, base).map(|spread| {
            let Spread { median, low, high } = spread;
            format!("**{}** ({}–{})", significant(median), significant(low), significant(high))
        })
    })
}

/// Medians.
pub fn values(grid: &Grid, unit: Unit) -> String {
    table(grid, |row, column| grid.value(row, column).map(|spread| unit.show(spread.median)))
}

/// What the samples are, and how they are shown.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Nanoseconds, shown as microseconds.
    Nanoseconds,
    Milliseconds,
    /// KiB, shown as MiB.
    Kibibytes,
    Seconds,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds => format!("{} µs", significant(value / 1e3)),
            Unit::Milliseconds => format!("{} ms", significant(value)),
            Unit::Seconds => format!("{} s", significant(value)),
            Unit::Kibibytes => format!("{} MiB", significant(value / 1024.0)),
        }
    }
}

fn table(grid: &Grid, cell: impl Fn(usize, usize) -> Option<String>) -> String {
    let mut text = String::from("| |");
    for name in &grid.columns {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(grid.columns.len()));
    text.push('\n');
    for (row, title) in grid.rows.iter().enumerate() {
        let _ = write!(text, "| {title} |");
        for column in 0..grid.columns.len() {
            let _ = write!(text, " {} |", cell(row, column).unwrap_or_else(|| "–".into()));
        }
        text.push('\n');
    }
    text
}

/// Three significant digits, no exponent.
pub fn significant(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_shown_as_it_is_and_the_others_by_it() {
        let mut grid = Grid::new(["open".into(), "statfs".into()], ["native".into(), "fsmasq".into()]);
        grid.add(0, 0, 0, 2_000.0);
        grid.add(0, 1, 0, 13_000.0);
        let lines = "| | native | fsmasq |\n|---|---:|---:|\n\
                     | open | 2.00 µs | **6.50** (6.50–6.50) |\n| statfs | – | – |\n";
        assert_eq!(ratios(&grid, 0, Unit::Nanoseconds), lines);
    }
}

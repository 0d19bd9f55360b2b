//! Samples by row, column and round, and what is said of them.

use std::collections::BTreeMap;

/// Samples of what was run in rounds: those of one round belong together, because they were taken one
/// after the other.
#[derive(Debug, Clone)]
pub struct Grid {
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    samples: BTreeMap<(usize, usize), Vec<(u32, f64)>>,
}

/// A median, and the lowest and highest round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Grid {
    pub fn new(rows: impl IntoIterator<Item = String>, columns: impl IntoIterator<Item = String>) -> Self {
        Grid {
            rows: rows.into_iter().collect(),
            columns: columns.into_iter().collect(),
            samples: BTreeMap::new(),
        }
    }

    pub fn add(&mut self, row: usize, column: usize, round: u32, value: f64) {
        self.samples.entry((row, column)).or_default().push((round, value));
    }

    pub fn value(&self, row: usize, column: usize) -> Option<Spread> {
        Spread::of(self.samples.get(&(row, column))?.iter().map(|(_, value)| *value))
    }

    /// To the column `base`: each round's value by the same round's.
    pub fn ratio(&self, row: usize, column: usize, base: usize) -> Option<Spread> {
        let values = self.samples.get(&(row, column))?;
        let bases = self.samples.get(&(row, base))?;
        Spread::of(values.iter().filter_map(|(round, value)| {
            let (_, base) = bases.iter().find(|(other, _)| other == round)?;
            Some(value / base)
        }))
    }
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 30.0].into_iter());
        assert_eq!(spread, Some(Spread { median: 3.0, low: 1.0, high: 30.0 }));
        assert_eq!(Spread::of([].into_iter()), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut grid = Grid::new(["open".into()], ["native".into(), "traced".into()]);
        // The machine is ten times slower in the second round, for both.
        for (round, native, traced) in [(0, 1.0, 2.0), (1, 10.0, 20.0)] {
            grid.add(0, 0, round, native);
            grid.add(0, 1, round, traced);
        }
        grid.add(0, 1, 2, 99.0);
        assert_eq!(grid.ratio(0, 1, 0), Some(Spread { median: 2.0, low: 2.0, high: 2.0 }));
        assert_eq!(grid.ratio(1, 1, 0), None);
    }
}

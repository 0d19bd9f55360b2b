//! The table, and the page that has it: of each target the longest run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::figures::Figures;

const HEAD: &str = "| target | executions | seconds | a second | coverage | corpus | crashes |\n\
                    |---|---:|---:|---:|---:|---:|---:|\n";
const MARK: &str = "<!-- the longest runs, by `cargo xtask fuzz` -->\n";

pub fn table(all: &[Figures]) -> String {
    HEAD.to_owned() + &all.iter().map(row).collect::<String>()
}

fn row(of: &Figures) -> String {
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        of.target,
        of.executions,
        of.seconds,
        of.per_second(),
        of.coverage,
        of.corpus,
        of.crashes
    )
}

/// Puts new rows into the page, in place of those of shorter runs.
pub fn update(page: &Path, new: &[Figures]) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    fs::write(page, merge(&old, new)).with_context(|| page.display().to_string())
}

fn merge(page: &str, new: &[Figures]) -> String {
    let (text, rows) = page.split_once(MARK).unwrap_or((page, ""));
    let mut rows: Vec<(String, u64, String)> = rows.lines().filter_map(parse).collect();
    for figures in new {
        let known = rows.iter().position(|(target, ..)| *target == figures.target);
        let row = (figures.target.clone(), figures.seconds, row(figures));
        match known {
            Some(at) if rows[at].1 > figures.seconds => {}
            Some(at) => rows[at] = row,
            None => rows.push(row),
        }
    }
    rows.sort();
    format!("{text}{MARK}\n{HEAD}{}", rows.into_iter().map(|(.., row)| row).collect::<String>())
}

/// A row's target and seconds.
fn parse(line: &str) -> Option<(String, u64, String)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    Some(((*cells.get(1)?).to_owned(), cells.get(3)?.parse().ok()?, format!("{line}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_of_each_target_stays() {
        let figures = |target: &str, seconds, executions| {
            let mut figures = Figures::new(target);
            (figures.seconds, figures.executions) = (seconds, executions);
            figures
        };
        let page = merge("text\n", &[figures("path", 60, 600), figures("elf", 60, 60)]);
        let again = merge(&page, &[figures("path", 10, 1), figures("elf", 120, 240)]);
        let rows = "| elf | 240 | 120 | 2 | 0 | 0 | 0 |\n| path | 600 | 60 | 10 | 0 | 0 | 0 |\n";
        assert_eq!(again, format!("text\n{MARK}\n{HEAD}{rows}"));
        assert_eq!(merge(&again, &[]), again);
    }
}

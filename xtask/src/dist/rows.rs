//! A row for each check, and their count.

use anyhow::{Result, bail};

use crate::test::Tally;

#[derive(Default)]
pub struct Rows {
    tally: Tally,
}

impl Rows {
    /// One check: its name is what is so if it passes.
    pub fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                self.tally.passed += 1;
                println!("ok      {name}");
            }
            Err(error) => {
                self.tally.failed += 1;
                println!("FAILED  {name}\n{error:#}");
            }
        }
    }

    pub fn skip(&mut self, name: &str, need: &str) {
        self.tally.skipped += 1;
        println!("skipped {name}: needs {need}");
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }
}

/// That a text has all of these parts.
pub fn has(text: &[u8], parts: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(text);
    for part in parts {
        if !text.contains(part) {
            bail!("no `{part}` in:\n{text}");
        }
    }
    Ok(())
}

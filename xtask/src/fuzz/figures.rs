//! What libFuzzer says of a run.

use std::time::{Duration, Instant};

/// Time between two lines of progress.
const PAUSE: Duration = Duration::from_secs(20);

/// The figures of one target's run.
#[derive(Debug)]
pub struct Figures {
    pub target: String,
    pub executions: u64,
    pub seconds: u64,
    /// Places in the code that were reached: libFuzzer's `cov`.
    pub coverage: u64,
    /// Inputs that each reach something that the others do not.
    pub corpus: u64,
    pub crashes: usize,
    told: Instant,
}

impl Figures {
    pub fn new(target: &str) -> Self {
        let told = Instant::now();
        Figures {
            target: target.to_owned(),
            executions: 0,
            seconds: 0,
            coverage: 0,
            corpus: 0,
            crashes: 0,
            told,
        }
    }

    /// Takes a line of libFuzzer's; true where it is time to show one.
    pub fn take(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("Done ") {
            // `Done 1253933 runs in 9 second(s)`
            let mut numbers = rest.split(' ').filter_map(|word| word.parse().ok());
            self.executions = numbers.next().unwrap_or(self.executions);
            self.seconds = numbers.next().unwrap_or(self.seconds);
            return false;
        }
        // `#1253933  DONE   cov: 286 ft: 311 corp: 42/1633b lim: 4096 exec/s: 139325 rss: 346Mb`
        let Some(rest) = line.strip_prefix('#') else { return false };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.split('/').next()?.parse().ok()
        };
        let (Some(executions), Some(coverage)) =
            (words.first().and_then(|word| word.parse().ok()), after("cov:"))
        else {
            return false;
        };
        self.executions = executions;
        self.coverage = coverage;
        self.corpus = after("corp:").unwrap_or(self.corpus);
        let is_time = self.told.elapsed() >= PAUSE;
        if is_time {
            self.told = Instant::now();
        }
        is_time
    }

    pub fn per_second(&self) -> u64 {
        self.executions / self.seconds.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libfuzzers_lines_are_read() {
        let mut figures = Figures::new("elf");
        for line in [
            "INFO: seed corpus: files: 8 min: 11b max: 64b",
            "#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#1253933\tDONE   cov: 286 ft: 311 corp: 42/1633b lim: 4096 exec/s: 139325 rss: 346Mb",
            "Done 1253934 runs in 9 second(s)",
        ] {
            assert!(!figures.take(line), "{line}");
        }
        let seen = (figures.executions, figures.seconds, figures.coverage, figures.corpus);
        assert_eq!(seen, (1_253_934, 9, 286, 42));
        assert_eq!(figures.per_second(), 139_326);
    }
}

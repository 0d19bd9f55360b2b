//! `cargo xtask fuzz`: every fuzz target for some minutes, a table, and docs/fuzzing.md.
//!
//! The inputs in fuzz/corpus are where a run begins; `cargo test` holds them against the code without any of this.
//! What a run finds beyond them stays in cargo's target folder, and is where the next run begins.

mod figures;
mod page;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools::{repository, run as run_command, step};
use figures::Figures;

/// Inputs kept per target, so that the repository stays small and their test quick.
const KEPT_FILES: usize = 32;
/// Longer ones find nothing that a shorter one does not.
const INPUT_BYTES: u32 = 2048;
/// What the targets are built for: the only machine that fsmasq runs on.
const MACHINE: &str = "x86_64-unknown-linux-gnu";

#[derive(clap::Args)]
pub struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Also puts the shortest inputs that reach something new into fuzz/corpus
    #[arg(long)]
    keep: bool,
    /// Only these, instead of all
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let fuzzer = Fuzzer::build()?;
    let known = targets()?;
    if let Some(unknown) = arguments.targets.iter().find(|name| !known.contains(*name)) {
        bail!("no fuzz target {unknown}; there are {}", Vec::from_iter(known).join(", "));
    }
    let chosen: Vec<String> =
        if arguments.targets.is_empty() { known.into_iter().collect() } else { arguments.targets.clone() };

    let mut all = Vec::new();
    for (index, target) in chosen.iter().enumerate() {
        println!("[{}/{}] {target}, {} min …", index + 1, chosen.len(), arguments.minutes);
        let figures = fuzzer.fuzz(target, arguments.minutes)?;
        println!(
            "    {} executions, {} a second, coverage {}, corpus {}, crashes {}",
            figures.executions,
            figures.per_second(),
            figures.coverage,
            figures.corpus,
            figures.crashes
        );
        if arguments.keep && figures.crashes == 0 {
            fuzzer.keep(target)?;
        }
        all.push(figures);
    }
    println!("\n{}", page::table(&all));
    page::update(&repository().join("docs/fuzzing.md"), &all)?;
    let crashes: usize = all.iter().map(|figures| figures.crashes).sum();
    if crashes > 0 {
        bail!(
            "{crashes} inputs break an expectation: they are in {}. Mend the code, then put them into \
             fuzz/corpus/TARGET under a name that says what they are",
            fuzzer.artifacts.display()
        );
    }
    Ok(())
}

/// The names of fuzz/fuzz_targets.
fn targets() -> Result<BTreeSet<String>> {
    let folder = repository().join("fuzz/fuzz_targets");
    let names = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    names
        .map(|entry| Ok(Path::new(&entry?.file_name()).with_extension("").to_string_lossy().into_owned()))
        .collect()
}

/// The built targets and their folders.
struct Fuzzer {
    programs: PathBuf,
    found: PathBuf,
    artifacts: PathBuf,
}

impl Fuzzer {
    fn build() -> Result<Self> {
        // This program is TARGET/debug/xtask.
        let own = env::current_exe()?;
        let target = own.ancestors().nth(2).context("this program is in no target folder")?;
        let folder = target.join("fuzz");
        let cargo_fuzz = cargo_fuzz(&target.join("cargo-fuzz"))?;
        step("fuzz targets: cargo fuzz build", || {
            let mut build = Command::new(cargo_fuzz);
            build.args(["build", "--target", MACHINE]).current_dir(repository().join("fuzz"));
            // What the sanitizer and the coverage need are a nightly compiler's flags.
            run_command(build.env("CARGO_TARGET_DIR", &folder).env("RUSTC_BOOTSTRAP", "1"))
        })?;
        let programs = folder.join(MACHINE).join("release");
        Ok(Self { programs, found: folder.join("found"), artifacts: folder.join("artifacts") })
    }

    /// Runs one target, with a line of progress now and then.
    fn fuzz(&self, target: &str, minutes: f64) -> Result<Figures> {
        let found = self.found.join(target);
        let artifacts = self.artifacts.join(target);
        for folder in [&found, &artifacts] {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let before = count(&artifacts)?;
        let mut command = self.program(target);
        command
            .arg(format!("-max_total_time={}", (minutes * 60.0).round()))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1")
            .args([&found, &seeds(target)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut figures = Figures::new(target);
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).split(b'\n') {
                let line = String::from_utf8_lossy(&line?).into_owned();
                if figures.take(&line) {
                    eprintln!("    {}", line.trim());
                }
                said.push(line);
                let excess = said.len().saturating_sub(60);
                said.drain(..excess);
            }
        }
        let status = child.wait()?;
        figures.crashes = count(&artifacts)?.saturating_sub(before);
        if !status.success() {
            println!("{}", said.join("\n"));
            if figures.crashes == 0 {
                bail!("{target} ended with {status}, and left no input that did it");
            }
        }
        Ok(figures)
    }

    /// Adds to fuzz/corpus the inputs found that reach what those in it do not, the shortest first.
    fn keep(&self, target: &str) -> Result<()> {
        let minimal = self.found.join(format!("{target}.minimal"));
        let _ = fs::remove_dir_all(&minimal);
        fs::create_dir_all(&minimal)?;
        let seeds = seeds(target);
        // Beginning with what is kept already, a merge adds only what reaches something more.
        for entry in fs::read_dir(&seeds)? {
            let entry = entry?;
            fs::copy(entry.path(), minimal.join(entry.file_name()))?;
        }
        step(&format!("{target}: what is worth keeping"), || {
            let found = self.found.join(target);
            run_command(self.program(target).args(["-merge=1"]).args([&minimal, &found]))
        })?;
        let mut new: Vec<(u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&minimal)? {
            let entry = entry?;
            if !seeds.join(entry.file_name()).exists() {
                new.push((entry.metadata()?.len(), entry.path()));
            }
        }
        new.sort();
        for (_, path) in new.iter().take(KEPT_FILES.saturating_sub(count(&seeds)?)) {
            fs::copy(path, seeds.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }

    fn program(&self, target: &str) -> Command {
        let mut command = Command::new(self.programs.join(target));
        command.arg(format!("-max_len={INPUT_BYTES}"));
        command
    }
}

/// cargo-fuzz: the one on PATH, or one of our own in cargo's target folder.
fn cargo_fuzz(folder: &Path) -> Result<PathBuf> {
    let on_path = env::var_os("PATH").and_then(|path| {
        env::split_paths(&path).map(|f| f.join("cargo-fuzz")).find(|program| program.is_file())
    });
    if let Some(program) = on_path {
        return Ok(program);
    }
    let installed = folder.join("bin/cargo-fuzz");
    if !installed.exists() {
        step("cargo-fuzz: cargo install (a minute at the first time)", || {
            let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["install", "--quiet", "--locked", "--root"]).arg(folder).arg("cargo-fuzz");
            // Its own target folder: cargo's for installations is a temporary one, and lost when it is interrupted.
            run_command(cargo.env("CARGO_TARGET_DIR", folder.join("target")))?;
            Ok(fs::remove_dir_all(folder.join("target"))?)
        })?;
    }
    Ok(installed)
}

fn seeds(target: &str) -> PathBuf {
    repository().join("fuzz/corpus").join(target)
}

fn count(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?.count())
}

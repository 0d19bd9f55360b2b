//! `cargo xtask dist`: what is given to users: a static program, its man page and completions, as a Debian package and as an
//! archive. Then the real tools look at all of it.

mod archive;
mod checks;
mod completions;
mod manual;
mod package;
mod program;
mod rows;
mod shells;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools::{Cache, repository, run as run_command, step};
use rows::Rows;

#[derive(clap::Args)]
pub struct Arguments {
    /// Makes the files, and checks none of them
    #[arg(long)]
    unchecked: bool,
}

/// What the checks need beside what every Debian machine has.
const PACKAGES: &[&str] = &["man-db", "mandoc", "bash-completion", "zsh", "fish", "lintian"];

/// What has been made.
pub struct Made {
    /// The folder of all of it.
    folder: PathBuf,
    program: PathBuf,
    /// The files as they are installed, from `/` on.
    tree: PathBuf,
    deb: PathBuf,
    archive: PathBuf,
    sums: PathBuf,
    /// The time that the files have.
    epoch: String,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let made = make()?;
    for file in [&made.deb, &made.archive, &made.sums] {
        println!("{}", file.display());
    }
    if arguments.unchecked {
        return Ok(());
    }
    for package in PACKAGES {
        // The check that needs it says so itself.
        if let Err(error) = Cache::open()?.debian(&[package]) {
            eprintln!("{error:#}");
        }
    }
    let mut rows = Rows::default();
    checks::all(&made, &mut rows)?;
    let tally = rows.tally();
    println!("{tally}");
    if tally.failed > 0 {
        bail!("{} of the checks failed; they are named above", tally.failed);
    }
    Ok(())
}

fn make() -> Result<Made> {
    let epoch = epoch()?;
    let (program, target) = program::build()?;
    let folder = target.join("dist");
    step("man page, completions, Debian package, archive", || {
        let tree = folder.join("tree");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing the old {}", folder.display()))?;
        }
        package::stage(&tree, &program, &epoch)?;
        let deb = package::pack(&tree, &folder, &epoch)?;
        let archive = archive::pack(&tree, &folder, &epoch)?;
        let sums = archive::sums(&folder, &[&deb, &archive])?;
        Ok(Made {
            folder: folder.clone(),
            program: program.clone(),
            tree,
            deb,
            archive,
            sums,
            epoch: epoch.clone(),
        })
    })
}

/// The time that all files get: that of the last commit, or of whoever asks for another one.
fn epoch() -> Result<String> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let mut git = Command::new("git");
    let time = run_command(git.current_dir(repository()).args(["log", "-1", "--format=%ct"]))
        .context("asking git for the time of the last commit; SOURCE_DATE_EPOCH can give another")?;
    Ok(String::from_utf8_lossy(&time).trim().to_owned())
}

fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}

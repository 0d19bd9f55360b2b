//! Whole programs under each competitor, on files made for the purpose.

use super::Settings;
use super::competitors::{ALL, Tools, find, output};
use super::grid::Grid;
use super::guest::Guest;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders with ten files each, in two halves.
const FOLDERS: usize = 1000;
const FILES_PER_FOLDER: usize = 10;

pub struct Program {
    pub title: &'static str,
    pub words: Vec<String>,
    pub folder: PathBuf,
    pub environment: Vec<(String, String)>,
    /// Exit code 1 says "nothing found".
    pub one_is_fine: bool,
}

/// Milliseconds: where the scheduler puts them, and with program and tracer on one CPU.
pub fn measure(tools: &Tools, settings: &Settings) -> Result<(Grid, Grid)> {
    // In memory, where there is room: a disk has moods.
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let scratch = scratch.context("a folder for scratch files")?;
    let programs = prepare(scratch.path())?;
    let guest = Guest {
        program: tools.guest.clone(),
        scratch: scratch.path().to_owned(),
        mount: PathBuf::new(),
        milliseconds: 0,
    };
    let grid = || {
        let rows = programs.iter().map(|program| program.title.to_owned());
        Grid::new(rows, ALL.iter().map(|competitor| competitor.name().to_owned()))
    };
    let (mut free, mut pinned) = (grid(), grid());
    let pin = settings.pin();
    for program in &programs {
        // The first run fills caches.
        guest.program(&[], program)?;
    }
    for round in 0..settings.rounds {
        settings.progress("programs", round);
        for (row, program) in programs.iter().enumerate() {
            for (column, competitor) in settings.in_turn(&ALL, round) {
                let prefix = competitor.prefix(tools, "9p=ext4");
                for (pin, grid) in [(&[][..], &mut free), (&pin[..], &mut pinned)] {
                    match guest.program(&[pin, &prefix].concat(), program) {
                        Ok(milliseconds) => grid.add(row, column, round, milliseconds),
                        Err(error) if competitor.is_ours() => return Err(error),
                        Err(error) => eprintln!("left out: {error:#}"),
                    }
                }
            }
        }
    }
    Ok((free, pinned))
}

/// Those whose program is installed.
fn prepare(scratch: &Path) -> Result<Vec<Program>> {
    let tree = scratch.join("tree");
    make_tree(&tree)?;
    let plain = |title, folder: &Path, words: &[&str]| Program {
        title,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        folder: folder.to_owned(),
        environment: Vec::new(),
        one_is_fine: words[0] == "grep",
    };
    let loop_of_shells = "i=0; while [ $i -lt 200 ]; do sh -c true; i=$((i+1)); done";
    let mut programs = vec![
        plain("find, 10,000 files", &tree, &["find", ".", "-type", "f", "-name", "*7"]),
        plain("grep -r, 10,000 files", &tree, &["grep", "-r", "not in any file", "."]),
        plain("sh -c true, 200 times", scratch, &["sh", "-c", loop_of_shells]),
    ];
    if find("git").is_some() {
        make_repository(&tree)?;
        programs.push(plain("git status, 10,000 files", &tree, &["git", "status", "--short"]));
    } else {
        eprintln!("left out: git is not there; on Debian: apt-get install git");
    }
    let archive = scratch.join("half.tar");
    output(Command::new("tar").arg("cf").arg(&archive).args([
        "-C",
        &tree.join("0").display().to_string(),
        ".",
    ]))?;
    let unpack = format!("rm -rf unpacked; mkdir unpacked; tar xf {} -C unpacked", archive.display());
    programs.push(plain("untar, 5,000 files", scratch, &["sh", "-c", &unpack]));
    if find("npm").is_some() {
        programs.push(plain("npm ls", scratch, &["npm", "ls"]));
    } else {
        eprintln!("left out: npm is not there; on Debian: apt-get install npm");
    }
    if let Some(python) = python() {
        let script = "import pkgutil, sys\n\
            names = sorted(m.name for m in pkgutil.iter_modules() if m.name.isalpha() and m.name not in \
            ('this', 'antigravity', 'idlelib', 'turtle'))[:200]\n\
            for name in names:\n    try: __import__(name)\n    except Exception: pass\n";
        programs.push(plain("python3, 200 imports", scratch, &[&python, "-c", script]));
    } else {
        eprintln!("left out: python3 is not there; on Debian: apt-get install python3");
    }
    if find("go").is_some() {
        programs.extend(go_programs(&scratch.join("module"))?);
    } else {
        eprintln!("left out: go is not there; on Debian: apt-get install golang-go");
    }
    Ok(programs)
}

fn make_tree(tree: &Path) -> Result<()> {
    for folder in 0..FOLDERS {
        let path = tree.join((folder % 2).to_string()).join(format!("folder{folder}"));
        fs::create_dir_all(&path)?;
        for file in 0..FILES_PER_FOLDER {
            fs::write(path.join(format!("file{file}")), format!("line {file} of {folder}\n").repeat(40))?;
        }
    }
    Ok(())
}

fn make_repository(tree: &Path) -> Result<()> {
    let git = |words: &[&str]| output(Command::new("git").args(words).current_dir(tree));
    git(&["init", "--quiet"])?;
    git(&["add", "--all"])?;
    git(&["-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "-m", "tree"])?;
    Ok(())
}

/// The interpreter itself, where PATH has a script in front of it.
fn python() -> Option<String> {
    let mut command = Command::new("python3");
    command.args(["-c", "import sys; print(sys.executable)"]);
    output(&mut command).ok().map(|text| text.trim().to_owned())
}

fn go_programs(module: &Path) -> Result<Vec<Program>> {
    fs::create_dir_all(module)?;
    fs::write(module.join("go.mod"), "module example.org/hello\n\ngo 1.21\n")?;
    let source = "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc main() { fmt.Println(http.StatusText(200)) }\n";
    fs::write(module.join("main.go"), source)?;
    let environment: Vec<(String, String)> = [
        ("GOCACHE", module.join("cache").display().to_string()),
        ("GOFLAGS", "-buildvcs=false".into()),
        ("GOPROXY", "off".into()),
        ("GOTOOLCHAIN", "local".into()),
        ("GOWORK", "off".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let program = |title, words: &[&str]| Program {
        title,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        folder: module.to_owned(),
        environment: environment.clone(),
        one_is_fine: false,
    };
    Ok(vec![
        program("go list -deps", &["go", "list", "-deps", "."]),
        program("go build, cached packages", &["go", "build", "-o", "hello", "."]),
    ])
}

//! `cargo xtask test`: every check and every test that this machine can run, those first that find most in the least
//! time. What can't be had is left out by name.

mod leftovers;
mod runner;
mod tally;
mod tools;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools::{Cache, repository};
use runner::Runner;
pub use tally::Tally;
pub use tools::is_on_path;

#[derive(clap::Args)]
pub struct Arguments {
    /// Leaves out the cluster, which takes most of the time
    #[arg(long)]
    quick: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = Cache::open()?;
    let mut runner = Runner::new();

    tools::packages(&cache, &mut runner);
    runner.check("rustfmt", cargo(&["fmt", "--all", "--check"]));
    runner.check(
        "clippy",
        cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny=warnings"]),
    );
    tools::other_processor(&mut runner);
    let mut doc = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    doc.env("RUSTDOCFLAGS", "--deny=warnings");
    runner.check("rustdoc", doc);
    tools::deny(&mut runner);
    go_checks(&mut runner)?;

    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    // The tests name what they skip without these.
    tools::sandboxes(&cache, &mut runner, &mut tests);
    runner.suite("cargo test, with gVisor", tests);
    let itself = |words: &[&str]| -> Result<Command> {
        let mut command = Command::new(env::current_exe().context("finding this program")?);
        command.args(words);
        Ok(command)
    };
    runner.suite("what is given to users: program, package, man page, completions", itself(&["dist"])?);
    runner.suite("test suites of other projects, bare and below the prefix", itself(&["parity", "--short"])?);
    if arguments.quick {
        runner.skip("the cluster, and the machine on 9p shares", "to be run without --quick");
    } else {
        runner.suite("the node on ordinary Linux, on 9p shares, in QEMU", itself(&["vm", "--lines"])?);
        runner.suite(
            "the cluster in gVisor: cgroup v1 and v2, with and without mounts of their own",
            itself(&["cluster", "--matrix"])?,
        );
    }

    let tally = runner.finish();
    println!("\n{tally}");
    if tally.failed > 0 {
        bail!("{} failed; they are named above", tally.failed);
    }
    Ok(())
}

/// The cargo that runs this program, in the repository.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(repository()).args(arguments);
    command
}

/// gofmt and go vet for each Go module below tests/ and examples/, and for the guest program; and their own tests.
fn go_checks(runner: &mut Runner) -> Result<()> {
    if !tools::is_on_path("go") {
        runner.skip("gofmt and go vet", "go");
        return Ok(());
    }
    let tests = repository().join("tests");
    let examples = repository().join("examples");
    let mut format = Command::new("sh");
    format.arg("-c").arg("files=$(gofmt -l \"$@\"); echo \"$files\"; [ -z \"$files\" ]").arg("sh");
    format.args([&tests, &examples]);
    runner.check("gofmt", format);
    let mut guest = Command::new("go");
    guest.current_dir(tests.join("guests")).args(["vet", "reader.go"]);
    runner.check("go vet tests/guests", guest);
    let mut modules = go_modules(&tests)?;
    modules.extend(go_modules(&examples)?);
    for module in modules {
        let name = module.strip_prefix(repository()).unwrap_or(&module).display().to_string();
        let mut vet = Command::new("go");
        vet.current_dir(&module).args(["vet", "./..."]);
        runner.check(&format!("go vet {name}"), vet);
    }
    let proxy = examples.join("service-proxy");
    let mut test = Command::new("go");
    test.current_dir(proxy).args(["test", "./..."]);
    runner.check("go test examples/service-proxy", test);
    Ok(())
}

/// Folders with a go.mod and with Go files: some modules only pin versions.
fn go_modules(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        let mut has_sources = false;
        for entry in fs::read_dir(&current).with_context(|| format!("listing {}", current.display()))? {
            let path = entry?.path();
            has_sources |= path.extension().is_some_and(|extension| extension == "go");
            if path.is_dir() {
                folders.push(path);
            }
        }
        if has_sources && current.join("go.mod").exists() {
            modules.push(current);
        }
    }
    modules.sort();
    Ok(modules)
}

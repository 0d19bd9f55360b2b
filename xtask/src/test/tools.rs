//! What the tests need beside Rust: had where it can be, and named where it can't.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::runner::Runner;
use crate::tools::{Cache, run, step};

/// Programs that tests start, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("strace", "strace"),
    ("busybox", "busybox-static"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("findmnt", "util-linux"),
    ("python3", "python3"),
    ("git", "git"),
    ("stress-ng", "stress-ng"),
    ("gdb", "gdb"),
    ("bwrap", "bubblewrap"),
    ("setcap", "libcap2-bin"),
    ("tini", "tini"),
    ("dumb-init", "dumb-init"),
    ("catatonit", "catatonit"),
    ("runsv", "runit"),
    ("supervise", "daemontools"),
];

/// Installs what is missing. Where that fails, the tests that need it say so themselves.
pub fn packages(cache: &Cache, runner: &mut Runner) {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !is_on_path(program)).map(|(_, package)| *package).collect();
    if !builds_for_i386() {
        missing.extend(["gcc-multilib", "libc6-dev"]);
    }
    missing.dedup();
    if missing.is_empty() {
        return;
    }
    if let Err(error) = cache.debian(&missing) {
        eprintln!("{error:#}");
        runner.skip("installing Debian packages", &missing.join(", "));
    }
}

/// Whether the C compiler has what a 32-bit program needs.
fn builds_for_i386() -> bool {
    let mut command = Command::new("cc");
    command.args(["-m32", "-xc", "-o", "/dev/null", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    let written = child.stdin.take().is_some_and(|mut stdin| {
        std::io::Write::write_all(&mut stdin, b"#include <stdio.h>\nint main(void) { return 0; }\n").is_ok()
    });
    written & child.wait().is_ok_and(|status| status.success())
}

/// Tells the tests where both versions of gVisor are.
pub fn sandboxes(cache: &Cache, runner: &mut Runner, tests: &mut Command) {
    let mut tell = |variable: &str, name: &str, program: Result<PathBuf>| {
        if env::var_os(variable).is_some() {
            return;
        }
        match program {
            Ok(program) => drop(tests.env(variable, program)),
            Err(error) => {
                eprintln!("{error:#}");
                runner.skip(name, &format!("{variable}, where it can't be built or fetched"));
            }
        }
    };
    tell("FSMASQ_RUNSC", "today's gVisor", cache.runsc());
    tell("FSMASQ_OLD_RUNSC", "the gVisor of 2022", cache.old_runsc());
}

/// cargo-deny: licences, sources, duplicate versions. The list of advisories is on the network, and left out.
pub fn deny(runner: &mut Runner) {
    let program = match deny_program() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("{error:#}");
            runner.skip("cargo-deny", "cargo-deny, which can't be installed here");
            return;
        }
    };
    let mut command = Command::new(program);
    command.current_dir(crate::tools::repository());
    command.args(["--workspace", "--log-level=error", "check", "bans", "licenses", "sources"]);
    runner.check("cargo-deny", command);
}

/// The one on PATH, or one of our own in cargo's target folder, which the cache of CI has as well.
fn deny_program() -> Result<PathBuf> {
    if is_on_path("cargo-deny") {
        return Ok(PathBuf::from("cargo-deny"));
    }
    // This program is TARGET/debug/xtask.
    let own = env::current_exe()?;
    let target = own.ancestors().nth(2).context("this program is in no target folder")?;
    let folder = target.join("cargo-deny");
    let installed = folder.join("bin/cargo-deny");
    if !installed.exists() {
        step("cargo-deny: cargo install (minutes at the first time)", || install_deny(&folder))?;
    }
    Ok(installed)
}

fn install_deny(folder: &Path) -> Result<()> {
    let mut cargo = super::cargo(&["install", "--quiet", "--locked", "--root"]);
    // Its own target folder: cargo's for installations is a temporary one, and lost when it is interrupted.
    cargo.arg(folder).arg("cargo-deny").env("CARGO_TARGET_DIR", folder.join("target"));
    run(&mut cargo)?;
    std::fs::remove_dir_all(folder.join("target"))?;
    Ok(())
}

/// The launcher compiled for a processor that this machine is not. Its standard library comes with rustup.
pub fn other_processor(runner: &mut Runner) {
    const TARGET: &str = "aarch64-unknown-linux-gnu";
    let mut rustup = Command::new("rustup");
    if let Err(error) = run(rustup.current_dir(crate::tools::repository()).args(["target", "add", TARGET])) {
        eprintln!("{error:#}");
        runner.skip("clippy for aarch64", &format!("rustup target add {TARGET}"));
        return;
    }
    let clippy = ["clippy", "--quiet", "--package=fsmasq", "--lib", "--bins", "--target", TARGET];
    let mut command = super::cargo(&clippy);
    command.args(["--", "--deny=warnings"]);
    runner.check("clippy for aarch64", command);
}

/// Whether PATH has the program.
pub fn is_on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

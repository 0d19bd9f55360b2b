//! The program: static, so that it runs in any sandbox, and free of what this machine is.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tools::{repository, run, step};

pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds it, and says where it and cargo's target folder are.
pub fn build() -> Result<(PathBuf, PathBuf)> {
    let output = step("static program: cargo build --release", || {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(repository());
        command.args([
            "build",
            "--release",
            "--package=fsmasq",
            "--bin=fsmasq",
            "--locked",
            "--target",
            TARGET,
        ]);
        command.arg("--message-format=json-render-diagnostics");
        command.env("CARGO_ENCODED_RUSTFLAGS", flags()).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        run(&mut command)
    })?;
    let program = String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built fsmasq, but named no executable")?;
    // TARGET-FOLDER/TARGET/release/fsmasq
    let folder = program.ancestors().nth(3).context("cargo's target folder")?.to_path_buf();
    Ok((program, folder))
}

/// For the compiler: no shared libraries, no paths of this machine. Between flags, cargo wants a unit separator.
pub fn flags() -> String {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    flags.push(format!("--remap-path-prefix={}=/fsmasq", repository().display()));
    flags.push(format!("--remap-path-prefix={}=/cargo", cargo.display()));
    flags.join("\u{1f}")
}

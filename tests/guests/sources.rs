//! Guests in other languages, built when a test needs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The i386 program, where there is a compiler for it.
pub fn i386_program() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let to = folder().join("i386");
        let mut command = Command::new("cc");
        command.args(["-m32", "-O1", "-Wall", "-Werror", "-o"]).arg(&to).arg(source("i386.c"));
        succeeds(&mut command).then_some(to)
    };
    PROGRAM.get_or_init(build).clone()
}

/// The Go program.
pub fn go_program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let to = folder().join("go-reader");
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(&to).arg(source("reader.go")).env("CGO_ENABLED", "0");
        assert!(command.status().unwrap().success(), "go build");
        to
    };
    PROGRAM.get_or_init(build).clone()
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(name)
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

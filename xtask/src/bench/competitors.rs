//! Who is compared: each is a prefix for a command.

use crate::tools::{Cache, executable, launcher, run};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Competitor {
    Native,
    /// What a filter costs at the least.
    EmptyFilter,
    /// What a tracer costs at the least.
    BareTracer,
    Fsmasq,
    FsmasqTrapped,
    Strace,
    FsmasqAllStops,
    Proot,
    Lurk,
}

use Competitor::{
    BareTracer, EmptyFilter, Fsmasq, FsmasqAllStops, FsmasqTrapped, Lurk, Native, Proot, Strace,
};

pub const ALL: [Competitor; 9] =
    [Native, EmptyFilter, BareTracer, Fsmasq, FsmasqTrapped, Strace, FsmasqAllStops, Proot, Lurk];

/// The calls that fsmasq's filter stops; strace passes over what it does not know behind a `?`.
const TRACED_BY_STRACE: &str = "trace=open,openat,?openat2,statfs,fstatfs,?statmount";

impl Competitor {
    pub fn name(self) -> &'static str {
        match self {
            Native => "native",
            EmptyFilter => "an empty filter",
            BareTracer => "a bare tracer",
            Fsmasq => "fsmasq",
            FsmasqTrapped => "fsmasq --no-fast-path",
            Strace => "strace --seccomp-bpf",
            FsmasqAllStops => "fsmasq --no-seccomp",
            Proot => "proot",
            Lurk => "lurk",
        }
    }

    /// What the command's own words follow.
    pub fn prefix(self, tools: &Tools, mapping: &str) -> Vec<OsString> {
        let fsmasq = tools.fsmasq.clone().into_os_string();
        let strings = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        match self {
            Native => Vec::new(),
            EmptyFilter | BareTracer => {
                let layer = if self == EmptyFilter { "filter" } else { "tracer" };
                [vec![tools.guest.clone().into_os_string()], strings(&["below", layer, "--"])].concat()
            }
            FsmasqTrapped => [vec![fsmasq], strings(&["--no-fast-path", "--map", mapping, "--"])].concat(),
            Fsmasq => [vec![fsmasq], strings(&["--map", mapping, "--"])].concat(),
            FsmasqAllStops => [vec![fsmasq], strings(&["--no-seccomp", "--map", mapping, "--"])].concat(),
            Strace => {
                strings(&["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", TRACED_BY_STRACE, "--"])
            }
            Proot => strings(&["proot"]),
            Lurk => {
                let lurk = tools.lurk.clone().into_os_string();
                [vec![lurk], strings(&["--follow-forks", "--file", "/dev/null", "--"])].concat()
            }
        }
    }

    /// Whether its failure is one of this project.
    pub fn is_ours(self) -> bool {
        !matches!(self, Strace | Proot | Lurk)
    }
}

/// The programs that a run uses.
#[derive(Debug, Clone)]
pub struct Tools {
    pub fsmasq: PathBuf,
    pub guest: PathBuf,
    pub lurk: PathBuf,
}

impl Tools {
    /// Builds the project's own, and installs the others where they are missing.
    pub fn prepare() -> Result<Self> {
        let needed = [("strace", "strace"), ("proot", "proot"), ("taskset", "util-linux")];
        for (program, package) in needed.into_iter().filter(|(program, _)| find(program).is_none()) {
            Cache::open()?.debian(&[package]).with_context(|| {
                format!("{program} is needed to be compared with; on Debian: apt-get install {package}")
            })?;
        }
        let words = ["build", "--release", "--package=bench-calls"];
        let guest = executable("guest: cargo build --release", &words, "bench-calls")?;
        Ok(Tools { fsmasq: launcher()?, guest, lurk: Cache::open()?.lurk()? })
    }
}

/// A program's place in PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// A command behind a prefix.
pub fn behind(prefix: &[OsString], words: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let mut words = prefix.iter().cloned().chain(words);
    let program = words.next().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    // `cargo run` sets it, and every program that starts would look for its libraries there first.
    command.env_remove("LD_LIBRARY_PATH");
    Ok(command)
}

/// What a command printed.
pub fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&run(command)?).into_owned())
}

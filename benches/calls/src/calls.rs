//! The calls that are timed.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::statfs::{fstatfs, statfs};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Call {
    /// Stops in no tracer that picks its calls.
    Getppid,
    /// open and close of a file that is there.
    Open,
    /// open of a file that is not there.
    OpenMissing,
    /// open and close with O_WRONLY|O_CREAT.
    OpenCreate,
    Statfs,
    Fstatfs,
    /// open, read to the end, close of /proc/self/mountinfo.
    Mountinfo,
    /// Start `true` and wait for its end.
    Spawn,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}

/// What the calls are made on.
pub struct Places {
    existing: PathBuf,
    created: PathBuf,
    mount: PathBuf,
    mount_folder: File,
    buffer: Vec<u8>,
}

const TABLE_CHUNK_BYTES: usize = 64 * 1024;
const MISSING: &str = "/nonexistent/bench-calls";

impl Places {
    pub fn prepare(scratch: &Path, mount: &Path) -> Result<Self> {
        let existing = scratch.join("existing");
        fs::write(&existing, "x").with_context(|| format!("--scratch: {}", existing.display()))?;
        Ok(Places {
            existing,
            created: scratch.join("created"),
            mount: mount.to_owned(),
            mount_folder: File::open(mount).with_context(|| format!("--mount: {}", mount.display()))?,
            buffer: vec![0; TABLE_CHUNK_BYTES],
        })
    }

    /// One call, and what goes with it.
    pub fn make(&mut self, call: Call) -> Result<()> {
        match call {
            Call::Getppid => {
                std::hint::black_box(std::os::unix::process::parent_id());
            }
            Call::Open => drop(File::open(&self.existing)?),
            Call::OpenMissing => open_missing()?,
            Call::OpenCreate => {
                drop(OpenOptions::new().write(true).create(true).truncate(false).open(&self.created)?);
            }
            Call::Statfs => {
                std::hint::black_box(statfs(&self.mount)?);
            }
            Call::Fstatfs => {
                std::hint::black_box(fstatfs(&self.mount_folder)?);
            }
            Call::Mountinfo => {
                let mut table = File::open("/proc/self/mountinfo")?;
                while table.read(&mut self.buffer)? > 0 {}
            }
            Call::Spawn => {
                let status = Command::new("/bin/true").status().context("/bin/true")?;
                if !status.success() {
                    bail!("/bin/true: {status}");
                }
            }
        }
        Ok(())
    }
}

pub fn open_missing() -> Result<()> {
    match File::open(MISSING) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(MISSING),
        Ok(_) => bail!("{MISSING} is there"),
    }
}

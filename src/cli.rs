//! From arguments to a launcher's configuration; nothing else reads argv.

use crate::doctor::{self, Doctor};
use crate::fast_path::DEFAULT_PATIENCE;
use crate::launch::{Launcher, Logging};
use crate::log::{Format, Verbosity};
use crate::rules::{Mapping, Profile};
use crate::sandbox;
use anyhow::{Context, Result, bail};
use clap::{ArgAction, Parser, ValueHint};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A prefix for a command: everything that it starts sees 9p file systems as ext4.
///
/// The command keeps this process's PID, terminal, exit status. Where something of fsmasq itself
/// fails, the exit status is 125; 126 where the program can't be executed, 127 where it is not found.
#[derive(Debug, Parser)]
#[command(name = "fsmasq", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    /// Show file systems of type FROM as TO, instead of 9p=ext4; may be repeated. Types are named as in
    /// statfs(2), or NAME:0xMAGIC.
    #[arg(long, value_name = "FROM=TO")]
    map: Vec<Mapping>,

    /// Only mounts at or below PATH; may be repeated.
    #[arg(long, value_name = "PATH", value_parser = mount_point, value_hint = ValueHint::DirPath)]
    only: Vec<PathBuf>,

    /// Not the mounts at or below PATH; may be repeated. The longest of --only and --except decides.
    #[arg(long, value_name = "PATH", value_parser = mount_point, value_hint = ValueHint::DirPath)]
    except: Vec<PathBuf>,

    /// Supplies what a sandbox lacks: auto (gvisor inside gVisor, otherwise none), none, gvisor, or a
    /// file.
    #[arg(long, value_name = "auto|none|gvisor|FILE", default_value = "auto", value_hint = ValueHint::FilePath)]
    profile: String,

    /// Leaves PROGRAM alone, and all that it starts: it sees file systems as they are. A name, or a path; may be
    /// repeated. (strace, gdb and other tracers work without it, and take what they trace out.)
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    untraced: Vec<OsString>,

    /// Prints the profile that applies, as TOML to edit and give back with --profile, and ends.
    #[arg(long)]
    print_profile: bool,

    /// Says whether a Kubernetes node can run here, and what has to be done first; changes nothing. Exit status 0: it can
    /// (below fsmasq), 1: not yet. The other options are taken into account.
    #[arg(long, value_enum, value_name = "table|json", num_args = 0..=1, require_equals = true,
          default_missing_value = "table", hide_possible_values = true, conflicts_with = "command")]
    doctor: Option<doctor::Format>,

    /// Logs each rewritten call; twice: also tasks that come and go.
    #[arg(short, long, visible_alias = "debug", action = ArgAction::Count)]
    verbose: u8,

    /// Writes the log to FILE (appending) instead of stderr.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    log_file: Option<PathBuf>,

    /// How the log's lines look.
    #[arg(long, value_enum, default_value_t)]
    log_format: Format,

    /// When the last task has ended: calls rewritten per program, stops, the tracer's CPU time.
    #[arg(long)]
    summary: bool,

    /// Stop at every system call, without a seccomp filter: slower, with the same results.
    #[arg(long)]
    no_seccomp: bool,

    /// Stop at every open. Otherwise instructions that make opens of no interest again and again are patched in memory,
    /// so that those no longer stop.
    #[arg(long, visible_alias = "exact", conflicts_with = "fast_path_after")]
    no_fast_path: bool,

    /// Patch such an instruction after N opens of no interest.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PATIENCE, value_parser = clap::value_parser!(u8).range(1..))]
    fast_path_after: u8,

    /// The command and its arguments.
    #[arg(trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  fsmasq k3s server                     a Kubernetes node in a sandbox whose files are on 9p
  fsmasq -v df -T                       what is rewritten, call by call
  fsmasq --map fuse=ext4 -- COMMAND     another type instead of 9p
  fsmasq --print-profile > my.toml      a profile to edit; then: fsmasq --profile my.toml COMMAND";

/// What the arguments ask for.
#[derive(Debug)]
pub enum Task {
    Launch(Box<Launcher>),
    Examine(Doctor),
    Print(String),
}

impl Arguments {
    /// Turns the arguments into what is to be done; reads the profile and opens the log file.
    pub fn into_task(self) -> Result<Task> {
        let (profile, announcement) = find_profile(&self.profile)?;
        if self.print_profile {
            return Ok(Task::Print(profile.to_toml()));
        }
        let mut command = self.command.into_iter();
        let program = match (command.next(), self.doctor) {
            (Some(program), _) => program,
            (None, Some(_)) => OsString::new(),
            (None, None) => bail!("no command; try: fsmasq df -T, or fsmasq --help"),
        };
        if let Some(announcement) = announcement.filter(|_| self.doctor.is_none()) {
            eprintln!("fsmasq: {announcement}");
        }
        let file = self.log_file.map(|path| open_log(&path)).transpose()?;
        let verbosity = match self.verbose {
            0 => Verbosity::Quiet,
            1 => Verbosity::Calls,
            _ => Verbosity::Tasks,
        };
        let logging = Logging { verbosity, format: self.log_format, file, summary: self.summary };
        let mut launcher =
            Launcher::new(program).args(command).profile(profile).seccomp(!self.no_seccomp).logging(logging);
        launcher = launcher.fast_path((!self.no_fast_path).then_some(self.fast_path_after));
        for mapping in self.map {
            launcher = launcher.map(mapping);
        }
        for path in self.only {
            launcher = launcher.only(path.as_os_str().as_bytes());
        }
        for program in self.untraced {
            launcher = launcher.untraced(program);
        }
        for path in self.except {
            launcher = launcher.except(path.as_os_str().as_bytes());
        }
        if let Some(format) = self.doctor {
            let profile = (self.profile != "auto").then_some(self.profile);
            return Ok(Task::Examine(Doctor { rules: launcher.into_rules(), profile, format }));
        }
        Ok(Task::Launch(Box::new(launcher)))
    }
}

/// The profile, and a line about it where it was not asked for by name.
fn find_profile(name: &str) -> Result<(Profile, Option<String>)> {
    Ok(match name {
        "none" => (Profile::none(), None),
        "gvisor" => (Profile::gvisor(), None),
        "auto" if sandbox::is_gvisor() => {
            let line = "this is gVisor: profile `gvisor` supplies what it lacks (see fsmasq --print-profile; \
                        off with --profile none)";
            (Profile::gvisor(), Some(line.into()))
        }
        "auto" => (Profile::none(), None),
        path => {
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("--profile {path}: neither auto, none nor gvisor, nor a file that can be read")
            })?;
            (Profile::parse(&text).with_context(|| format!("--profile {path}"))?, None)
        }
    })
}

fn open_log(path: &Path) -> Result<std::fs::File> {
    // A FIFO without a reader would hold up the start.
    OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .with_context(|| format!("--log-file {}", path.display()))
}

fn mount_point(text: &str) -> Result<PathBuf, String> {
    if !text.starts_with('/') {
        return Err("a mount point is an absolute path, as in /proc/self/mountinfo".into());
    }
    Ok(PathBuf::from(if text == "/" { text } else { text.trim_end_matches('/') }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_make_sense() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let parsed = Arguments::try_parse_from(["fsmasq", "-v", "df", "-v", "--map"]);
        assert!(parsed.is_ok_and(|a| a.verbose == 1 && a.command == ["df", "-v", "--map"]));
        let parsed = Arguments::try_parse_from(["fsmasq", "--", "-x"]);
        assert!(parsed.is_ok_and(|a| a.command == ["-x"]));
    }
}

//! From the launcher's process to the command: the process that the user started becomes the command,
//! and a grandchild of it, out of the family, is the tracer. PID, parent, terminal, exit status are
//! then the command's own, with nothing to forward.

mod filter;
mod handshake;
mod obstacle;
mod title;
mod tracer_process;

pub(crate) use filter::install as install_filter;
pub use obstacle::LaunchError;
pub(crate) use obstacle::{refuse_second_tracer, seize_refused, yama_scope};

use crate::command;
use crate::fast_path::DEFAULT_PATIENCE;
use crate::log::{Format, Verbosity};
use crate::rules::{Mapping, Profile, Rules};
use crate::seccomp::Selection;
use crate::tracer::Engine;
use handshake::{Channel, FromCommand, FromTracer, clear_of_standard};
use libc::sock_filter;
use nix::poll::PollTimeout;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setsid};
use std::ffi::OsString;
use std::fs::File;

/// What the tracer's log is like.
#[derive(Debug, Default)]
pub struct Logging {
    pub verbosity: Verbosity,
    pub format: Format,
    /// None for stderr.
    pub file: Option<File>,
    /// Counts on stderr, or in the file, when the last task has ended.
    pub summary: bool,
}

/// A command, and what it is to see.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use fsmasq::Launcher;
/// // Never returns where all is well: this process becomes the command.
/// let error = Launcher::new("df").args(["-T"]).map("9p=ext4".parse()?).exec();
/// Err(error.into())
/// # }
/// ```
#[derive(Debug)]
pub struct Launcher {
    program: OsString,
    arguments: Vec<OsString>,
    rules: Rules,
    /// Whether `map` has been called: its first call replaces the default mapping.
    mapped: bool,
    seccomp: bool,
    /// How often a site stops for nothing before it is patched; None: as often as it likes.
    patience: Option<u8>,
    logging: Logging,
}

impl Launcher {
    /// For the program `program`, looked up in PATH where it has no slash.
    pub fn new(program: impl Into<OsString>) -> Self {
        Launcher {
            program: program.into(),
            arguments: Vec::new(),
            rules: Rules::default(),
            mapped: false,
            seccomp: true,
            patience: Some(DEFAULT_PATIENCE),
            logging: Logging::default(),
        }
    }

    /// The arguments behind the program's name.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a mapping; the first one takes the place of the default, `9p=ext4`.
    #[must_use]
    pub fn map(mut self, mapping: Mapping) -> Self {
        if !std::mem::replace(&mut self.mapped, true) {
            self.rules.mappings.clear();
        }
        self.rules.mappings.push(mapping);
        self
    }

    /// Masks mounts at or below this mount point only.
    #[must_use]
    pub fn only(mut self, mount_point: impl Into<Vec<u8>>) -> Self {
        self.rules.scope.only.push(mount_point.into());
        self
    }

    /// Leaves mounts at or below this mount point as they are.
    #[must_use]
    pub fn except(mut self, mount_point: impl Into<Vec<u8>>) -> Self {
        self.rules.scope.except.push(mount_point.into());
        self
    }

    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.rules.profile = profile;
        self
    }

    /// Leaves a program alone, and all that it starts: by name, or by path where there is a slash.
    #[must_use]
    pub fn untraced(mut self, program: impl Into<OsString>) -> Self {
        self.rules.untraced.push(program);
        self
    }

    /// Whether to use a filter, where the machine has them (the default).
    #[must_use]
    pub fn seccomp(mut self, seccomp: bool) -> Self {
        self.seccomp = seccomp;
        self
    }

    /// After so many opens of no interest, the instruction that makes them is patched to make them without a stop
    /// (the default is [`DEFAULT_PATIENCE`]); None: each open stops.
    #[must_use]
    pub fn fast_path(mut self, patience: Option<u8>) -> Self {
        self.patience = patience;
        self
    }

    #[must_use]
    pub fn logging(mut self, logging: Logging) -> Self {
        self.logging = logging;
        self
    }

    /// What it would show as what.
    pub(crate) fn into_rules(self) -> Rules {
        self.rules
    }

    /// Becomes the command, traced. Call it from a process with one thread.
    /// Returns only where that fails; see [`LaunchError::exit_code`].
    pub fn exec(self) -> LaunchError {
        match self.try_exec() {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_exec(self) -> Result<std::convert::Infallible, LaunchError> {
        let path = command::resolve(&self.program)?;
        obstacle::refuse_second_tracer()?;
        let selection =
            Selection { all_files: self.rules.profile.takes_writes(), stubs: self.patience.is_some() };
        let filter = self.seccomp.then(|| crate::seccomp::program(selection));
        start_tracer(self.rules, self.patience, self.logging, filter.as_deref())?;
        probe();
        let mut arguments = vec![self.program];
        arguments.extend(self.arguments);
        Err(command::execute(&path, &arguments).into())
    }
}

/// A call that the tracer sees to the end: from its stops, the tracer learns their order on this
/// kernel. It must not fail with ENOSYS, which is also what an entry stop looks like.
fn probe() {
    let _ = nix::sys::statfs::statfs("");
}

/// Starts the tracer, and has this process seized by it.
fn start_tracer(
    rules: Rules,
    patience: Option<u8>,
    logging: Logging,
    filter: Option<&[sock_filter]>,
) -> Result<(), LaunchError> {
    let (ours, theirs) = Channel::pair().map_err(LaunchError::Start)?;
    let file = logging.file.map(|file| clear_of_standard(file.into()));
    let file = file.transpose().map_err(LaunchError::Start)?.map(File::from);
    let logging = Logging { file, ..logging };
    let command = Pid::this();
    let orphans_come_back = command.as_raw() == 1 || is_subreaper();
    match silent_fork().map_err(LaunchError::Start)? {
        None => {
            drop(ours);
            // Before the next fork: a process that leaves its group while the group is being stopped stays
            // stopped when the group goes on. Of this child `await_child` takes care.
            let _ = setsid();
            // An orphan is nobody's child that the command could meet; but where orphans come back to the
            // command, as ordinary children, this silent one is the better tracer.
            // SAFETY: this process has one thread (see `Launcher::exec`), so its child may do anything.
            if orphans_come_back || matches!(unsafe { fork() }, Ok(ForkResult::Child)) {
                tracer_process::run(command, theirs, rules, patience, logging);
            }
            exit_now(0)
        }
        Some(child) => {
            drop(theirs);
            await_child(child, &ours, orphans_come_back)?;
            be_seized(&ours, filter)
        }
    }
}

/// How often a child that should have spoken is looked at, in milliseconds.
const LOOK: u8 = 20;

/// Waits until the child has ended, or, as the tracer, has something to say; and continues it where a signal to
/// the group that it was leaving has stopped it, for what continues the group no longer reaches it.
fn await_child(child: Pid, channel: &Channel, is_tracer: bool) -> Result<(), LaunchError> {
    let mut flags = WaitPidFlag::__WALL | WaitPidFlag::WUNTRACED;
    loop {
        if is_tracer {
            flags |= WaitPidFlag::WNOHANG;
            if channel.is_readable(PollTimeout::from(LOOK)).map_err(LaunchError::Handshake)? {
                return Ok(());
            }
        }
        match waitpid(child, Some(flags)) {
            Ok(WaitStatus::Stopped(..)) => drop(kill(child, Signal::SIGCONT)),
            Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR) => {}
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

/// A fork whose end sends no signal, so that none is left pending for the command, and which a wait(2)
/// without __WALL or __WCLONE doesn't see. None in the child.
fn silent_fork() -> nix::Result<Option<Pid>> {
    // SAFETY: without flags this is a fork: no stack, no pointers. This process has one thread, so the
    // child may do anything; what the C library's fork would do more concerns other threads.
    let pid = nix::Error::result(unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) })?;
    Ok(i32::try_from(pid).ok().filter(|pid| *pid != 0).map(Pid::from_raw))
}

/// Whether orphans below this process become its children (PR_SET_CHILD_SUBREAPER).
fn is_subreaper() -> bool {
    let mut answer: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    let result = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut answer) };
    result == 0 && answer != 0
}

/// The command's side of being seized. From that moment on any signal makes a stop, which the tracer has to
/// serve, so it is told all that it needs to know before; and so the filter comes first. What it picks is
/// ENOSYS until the tracer is there.
fn be_seized(channel: &Channel, filter: Option<&[sock_filter]>) -> Result<(), LaunchError> {
    let tracer = match channel.receive().map_err(LaunchError::Handshake)? {
        FromTracer::Hello { pid } => pid,
        FromTracer::Refused { .. } | FromTracer::Ready => {
            return Err(LaunchError::Handshake(nix::Error::EPROTO));
        }
    };
    // Where Yama allows only ancestors, a grandchild needs a permit; without Yama it is EINVAL.
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, tracer) };
    let yama = obstacle::yama_scope();
    let installed = filter.map(filter::install);
    let engine = if installed == Some(Ok(())) { Engine::Seccomp } else { Engine::AllStops };
    channel.send(FromCommand::Seize(engine)).map_err(LaunchError::Handshake)?;
    match channel.receive().map_err(LaunchError::Handshake)? {
        FromTracer::Ready => {}
        FromTracer::Refused { errno } => return Err(obstacle::seize_refused(errno, &yama)),
        FromTracer::Hello { .. } => return Err(LaunchError::Handshake(nix::Error::EPROTO)),
    }
    if let Some(Err(errno)) = installed {
        eprintln!(
            "fsmasq: warning: no seccomp filter can be had here ({errno}), so every system call stops; results \
             are the same, but programs are several times slower"
        );
    }
    Ok(())
}

/// Ends a forked process without the parent's exit handlers.
fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

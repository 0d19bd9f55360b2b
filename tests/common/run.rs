//! Running a program, with and without the prefix, to its end or to a deadline.

use super::stage;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// For one program.
const DEADLINE: Duration = Duration::from_secs(60);

/// How calls stop; results must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Opens stop whenever they may matter.
    Seccomp,
    /// Opens stop once; then their sites are patched.
    FastPath,
    AllStops,
}

impl Engine {
    pub const ALL: [Engine; 3] = [Engine::Seccomp, Engine::FastPath, Engine::AllStops];

    pub fn name(self) -> &'static str {
        match self {
            Engine::Seccomp => "seccomp",
            Engine::FastPath => "fast-path",
            Engine::AllStops => "no-seccomp",
        }
    }

    /// What chooses it.
    pub fn option(self) -> &'static str {
        match self {
            Engine::Seccomp => "--no-fast-path",
            Engine::FastPath => "--fast-path-after=1",
            Engine::AllStops => "--no-seccomp",
        }
    }

    /// The prefix that shows the stage's file systems as ext4.
    pub fn prefix(self) -> Prefix {
        self.plain().options(["--map", "tmpfs=ext4"])
    }

    /// The prefix without a mapping of its own.
    pub fn plain(self) -> Prefix {
        let prefix = Prefix { words: vec![stage().launcher.clone().into()] }.options(["--profile", "none"]);
        prefix.options([self.option()])
    }
}

/// The launcher and its options.
#[derive(Debug, Clone)]
pub struct Prefix {
    words: Vec<OsString>,
}

impl Prefix {
    #[must_use]
    pub fn options<S: Into<OsString>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(options.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn without(mut self, option: &str) -> Self {
        self.words.retain(|word| word != option);
        self
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg("--").arg(program);
        command.env_remove("FSMASQ_LOG").env("RUST_BACKTRACE", "0");
        command
    }

    /// One of the guests of this folder.
    pub fn guest(&self, name: &str) -> Command {
        let mut command = self.command(&stage().guest);
        command.args(["--guest", name]);
        command
    }

    pub fn shell(&self, script: &str) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        command
    }

    /// The words in front of a command, for another program that starts it.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = self.words.clone();
        words.push("--".into());
        words
    }
}

/// The same without the prefix.
pub fn bare(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

pub fn bare_guest(name: &str) -> Command {
    let mut command = bare(&stage().guest);
    command.args(["--guest", name]);
    command
}

pub fn bare_shell(script: &str) -> Command {
    let mut command = bare("sh");
    command.args(["-c", script]);
    command
}

/// What a program did.
#[derive(Debug)]
pub struct Done {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: ExitStatus,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Exit status 0 and a silent stderr.
    #[track_caller]
    pub fn quiet_success(self) -> Self {
        assert_eq!(self.errors(), "", "stderr; status {}", self.status);
        self.success()
    }

    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.text(), self.errors());
        self
    }
}

/// Runs to the end of the program and of its output: whoever keeps a pipe open is found out.
#[track_caller]
pub fn finish(command: &mut Command) -> Done {
    finish_with_input(command, b"")
}

/// The same with something to read.
#[track_caller]
pub fn finish_with_input(command: &mut Command, input: &[u8]) -> Done {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    // A program that doesn't read ends the pipe: no reason to fail here.
    let _ = child.stdin.take().unwrap().write_all(input);
    wait(child, &format!("{command:?}"))
}

/// Waits for a child's end and the end of its output.
#[track_caller]
pub fn wait(mut child: Child, what: &str) -> Done {
    let deadline = Instant::now() + DEADLINE;
    let pidfd = pidfd(child.id());
    let mut pipes = [
        child.stdout.take().map(|p| std::fs::File::from(OwnedFd::from(p))),
        child.stderr.take().map(|p| std::fs::File::from(OwnedFd::from(p))),
    ];
    let mut texts = [Vec::new(), Vec::new()];
    let mut ended = false;
    while !ended || pipes.iter().any(Option::is_some) {
        let mut fds = Vec::new();
        let mut indices = Vec::new();
        for (index, pipe) in pipes.iter().enumerate() {
            if let Some(pipe) = pipe {
                fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
                indices.push(index);
            }
        }
        if !ended {
            fds.push(PollFd::new(pidfd.as_fd(), PollFlags::POLLIN));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let ready = poll(&mut fds, timeout);
        if ready == Ok(0) {
            give_up(&mut child);
            panic!(
                "{what}: not through after {} s (ended: {ended}); stdout so far {:?}, stderr {:?}",
                DEADLINE.as_secs(),
                String::from_utf8_lossy(&texts[0]),
                String::from_utf8_lossy(&texts[1])
            );
        }
        let hot: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        ended |= hot.get(indices.len()).copied().unwrap_or(false);
        for (position, index) in indices.iter().enumerate() {
            if hot[position] {
                let mut buffer = [0; 65536];
                match pipes[*index].as_mut().unwrap().read(&mut buffer) {
                    Ok(0) | Err(_) => pipes[*index] = None,
                    Ok(read) => texts[*index].extend_from_slice(&buffer[..read]),
                }
            }
        }
    }
    let status = child.wait().unwrap();
    let [stdout, stderr] = texts;
    Done { stdout, stderr, status }
}

/// Ends a child that takes too long, and its tracer first: a tracer that is stuck keeps it from ending.
fn give_up(child: &mut Child) {
    if let Some(tracer) = tracer_of(child.id()) {
        // SAFETY: no pointers; the tracer of our own child.
        unsafe { libc::kill(tracer, libc::SIGKILL) };
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The process that traces.
pub fn tracer_of(pid: u32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t"))?.parse().ok()?;
    (tracer > 0).then_some(tracer)
}

fn pidfd(pid: u32) -> OwnedFd {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
}

/// Runs a guest bare and under the prefix: the same output but for the types in mount tables,
/// the same status, and silence on stderr.
#[track_caller]
pub fn same_but_masked(engine: Engine, guest: &str, arguments: &[&str]) -> Done {
    let expected = finish(bare_guest(guest).args(arguments)).quiet_success();
    let seen = finish(engine.prefix().guest(guest).args(arguments)).quiet_success();
    let expected = String::from_utf8_lossy(&super::masked(&expected.stdout)).into_owned();
    assert!(!expected.is_empty(), "{guest} said nothing");
    assert_same_lines(&seen.text(), &expected, guest);
    seen
}

/// Compares texts, and names the first line that differs.
#[track_caller]
pub fn assert_same_lines(seen: &str, expected: &str, what: &str) {
    for (number, (seen, expected)) in seen.split('\n').zip(expected.split('\n')).enumerate() {
        assert_eq!(seen, expected, "{what}, line {}", number + 1);
    }
    assert_eq!(seen.len(), expected.len(), "{what}: one has more lines");
}

/// How a program died.
pub fn signal_of(done: &Done) -> Option<i32> {
    done.status.signal()
}

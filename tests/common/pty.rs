//! A terminal with a program on it: what a person would type and read.

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// For whatever is waited for.
const DEADLINE: Duration = Duration::from_secs(60);

pub const CTRL_C: &str = "\x03";
pub const CTRL_D: &str = "\x04";
pub const CTRL_Z: &str = "\x1a";
pub const CTRL_BACKSLASH: &str = "\x1c";

/// A program, and the other end of its terminal.
pub struct Terminal {
    child: Child,
    master: Option<std::fs::File>,
    /// All that was read.
    text: String,
    /// How much of it has been waited for.
    used: usize,
}

/// How a program comes to its terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// As from a login: it leads a session, whose terminal this is.
    Controlling,
    /// It has it as three descriptors only.
    Descriptors,
}

impl Terminal {
    /// Starts a program with all three standard descriptors on a new terminal, which doesn't echo and leaves
    /// line ends as they are.
    pub fn start(mut command: Command, tie: Tie) -> Terminal {
        let pair = openpty(None, None).unwrap();
        let mut modes = tcgetattr(&pair.slave).unwrap();
        modes.local_flags.remove(LocalFlags::ECHO);
        modes.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &modes).unwrap();
        for fd in [&pair.master, &pair.slave] {
            // SAFETY: no pointers; descriptors of ours.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: all calls are allowed after a fork.
        unsafe {
            command.pre_exec(move || {
                // Where the tests themselves are ended, nothing is left behind.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if tie == Tie::Controlling
                    && (libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1)
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            })
        };
        let child = command.spawn().unwrap();
        // The command holds copies of the terminal's end.
        drop(command);
        Terminal { child, master: Some(pair.master.into()), text: String::new(), used: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn send(&mut self, keys: &str) {
        self.master.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Reads on until `mark` has come; what came before it, since the last mark.
    #[track_caller]
    pub fn until(&mut self, mark: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.text[self.used..].find(mark) {
                let before = self.text[self.used..self.used + at].to_owned();
                self.used += at + mark.len();
                return before;
            }
            let ended = !self.read(deadline);
            assert!(!ended, "the terminal ended before {mark:?}:\n{}", self.text);
        }
    }

    /// Reads on until nobody has the terminal open any more.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        while self.read(deadline) {}
        self.text[std::mem::replace(&mut self.used, self.text.len())..].to_owned()
    }

    /// False at the end.
    #[track_caller]
    fn read(&mut self, deadline: Instant) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let master = self.master.as_mut().unwrap();
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap());
        assert_eq!(ready, Ok(1), "nothing more comes after:\n{}", self.text);
        let mut bytes = [0; 4096];
        // A terminal that nobody has open answers EIO.
        let Ok(count) = master.read(&mut bytes) else { return false };
        self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }

    /// Everything that has come so far.
    pub fn transcript(&self) -> &str {
        &self.text
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let master = self.master.as_ref().unwrap().as_raw_fd();
        // SAFETY: the kernel reads one struct.
        assert_eq!(unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    /// The group that the keys' signals go to.
    pub fn foreground(&self) -> i32 {
        let mut group = 0;
        let master = self.master.as_ref().unwrap().as_raw_fd();
        // SAFETY: the kernel writes one int.
        assert_eq!(unsafe { libc::ioctl(master, libc::TIOCGPGRP, &raw mut group) }, 0);
        group
    }

    /// The line is cut.
    pub fn hang_up(&mut self) {
        self.master = None;
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Terminal {
    /// What a failed test leaves behind.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            if let Some(tracer) = super::run::tracer_of(self.child.id()) {
                // SAFETY: no pointers; the tracer of our own child.
                unsafe { libc::kill(tracer, libc::SIGKILL) };
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

//! What the command's process and the tracer say to each other before the command begins.

use crate::tracer::Engine;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// From the process that will be the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromCommand {
    /// The permit has been given, and the filter is installed where there is one: seize me, and serve.
    Seize(Engine),
}

/// From the tracer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromTracer {
    Hello {
        pid: i32,
    },
    Refused {
        errno: i32,
    },
    /// Everything that happens from now on is seen.
    Ready,
}

/// A message as bytes: a kind and a number.
pub trait Message: Sized {
    fn encode(self) -> (u8, i32);
    fn decode(kind: u8, number: i32) -> Option<Self>;
}

impl Message for FromCommand {
    fn encode(self) -> (u8, i32) {
        match self {
            FromCommand::Seize(Engine::Seccomp) => (1, 0),
            FromCommand::Seize(Engine::AllStops) => (1, 1),
        }
    }

    fn decode(kind: u8, number: i32) -> Option<Self> {
        Some(match (kind, number) {
            (1, 0) => FromCommand::Seize(Engine::Seccomp),
            (1, 1) => FromCommand::Seize(Engine::AllStops),
            _ => return None,
        })
    }
}

impl Message for FromTracer {
    fn encode(self) -> (u8, i32) {
        match self {
            FromTracer::Hello { pid } => (11, pid),
            FromTracer::Refused { errno } => (12, errno),
            FromTracer::Ready => (13, 0),
        }
    }

    fn decode(kind: u8, number: i32) -> Option<Self> {
        Some(match kind {
            11 => FromTracer::Hello { pid: number },
            12 => FromTracer::Refused { errno: number },
            13 => FromTracer::Ready,
            _ => return None,
        })
    }
}

/// The same file under a number above 2. A caller may have closed standard descriptors; the tracer
/// redirects those, and the command must find them closed.
pub fn clear_of_standard(fd: OwnedFd) -> nix::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    let moved = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: fcntl has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

const MESSAGE_BYTES: usize = 5;

/// One end of the conversation; closed at exec.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    pub fn pair() -> nix::Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel(clear_of_standard(a)?), Channel(clear_of_standard(b)?)))
    }

    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn send(&self, message: impl Message) -> nix::Result<()> {
        let (kind, number) = message.encode();
        let mut bytes = [kind; MESSAGE_BYTES];
        bytes[1..].copy_from_slice(&number.to_ne_bytes());
        send(self.0.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL).map(drop)
    }

    /// Whether a message, or the end, comes within this time.
    pub fn is_readable(&self, within: PollTimeout) -> nix::Result<bool> {
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], within) {
            Err(nix::Error::EINTR) => Ok(false),
            ready => ready.map(|ready| ready > 0),
        }
    }

    /// EPIPE where the other side is gone.
    pub fn receive<M: Message>(&self) -> nix::Result<M> {
        let mut bytes = [0; MESSAGE_BYTES];
        loop {
            match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                // Being seized or interrupted by the tracer looks like a signal.
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(0) => return Err(nix::Error::EPIPE),
                Ok(_) => break,
            }
        }
        let [kind, number @ ..] = bytes;
        M::decode(kind, i32::from_ne_bytes(number)).ok_or(nix::Error::EPROTO)
    }
}

//! A question asked in a process of its own: it may hang, die, and change what is its own only.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2, setpgid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the process that looked died")]
    Died,
    #[error("no process could be started: {}", .0.desc())]
    Start(Errno),
}

/// JSON has no newline of its own.
const END: u8 = b'\n';

/// Answers `question` in a child. Call it from a process with one thread.
pub fn ask<T: Serialize + DeserializeOwned>(
    limit: Duration,
    question: impl FnOnce() -> T,
) -> Result<T, NoAnswer> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(NoAnswer::Start)?;
    // SAFETY: this process has one thread, so its child may do anything.
    match unsafe { fork() }.map_err(NoAnswer::Start)? {
        ForkResult::Child => {
            drop(ours);
            answer(File::from(theirs), question)
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let text = read_until_end(File::from(ours), limit);
            end(child);
            serde_json::from_slice(&text?).map_err(|_| NoAnswer::Died)
        }
    }
}

fn answer<T: Serialize>(mut pipe: File, question: impl FnOnce() -> T) -> ! {
    // What it starts ends with it.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    std::panic::set_hook(Box::new(|_| {}));
    if let Ok(answer) = catch_unwind(AssertUnwindSafe(question))
        && let Ok(mut text) = serde_json::to_vec(&answer)
    {
        text.push(END);
        let _ = pipe.write_all(&text);
    }
    // SAFETY: _exit has no preconditions; the parent's exit handlers are not the child's.
    unsafe { libc::_exit(0) }
}

fn read_until_end(mut pipe: File, limit: Duration) -> Result<Vec<u8>, NoAnswer> {
    let deadline = Instant::now() + limit;
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while text.last() != Some(&END) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NoAnswer::Late(limit));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return Err(NoAnswer::Died),
        }
        match pipe.read(&mut chunk) {
            Ok(0) | Err(_) => return Err(NoAnswer::Died),
            Ok(count) => text.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(text)
}

/// Ends the child's group. A child in a call that can't be interrupted is not waited for long.
fn end(child: Pid) {
    let _ = kill(Pid::from_raw(-child.as_raw()), Signal::SIGKILL);
    let _ = kill(child, Signal::SIGKILL);
    for _ in 0..200 {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The test harness has threads; these children only compute, sleep, or die.
    #[test]
    fn an_answer_comes_back_whole() {
        let answer = ask(Duration::from_secs(30), || vec!["line\n".repeat(30_000)]);
        assert_eq!(answer, Ok(vec!["line\n".repeat(30_000)]));
    }

    #[test]
    fn who_does_not_answer_is_ended() {
        let limit = Duration::from_millis(50);
        let answer = ask(limit, || std::thread::sleep(Duration::from_secs(600)));
        assert_eq!(answer, Err(NoAnswer::Late(limit)));
        // SAFETY: _exit has no preconditions.
        assert_eq!(ask::<u8>(Duration::from_secs(30), || unsafe { libc::_exit(3) }), Err(NoAnswer::Died));
    }
}

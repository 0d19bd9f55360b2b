//! Processes that outlive the suite that started them. One of them that holds the suite's output, or a stopped one that
//! nobody continues, would keep whoever waits for the end waiting for ever.

use std::fs;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Orphans become children of this process from now on.
pub fn adopt() {
    // Where it can't be had, leftovers are the machine's.
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Waits for a child, and for orphans that end before it: whoever waits for one of those to vanish must not wait in vain.
/// Whether the child succeeded.
pub fn wait_for(child: &Child) -> Result<bool> {
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(code == 0),
            Ok(WaitStatus::Signaled(pid, ..)) if pid == child => return Ok(false),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits for all children, and kills those that are there after `grace`. Says which those were.
pub fn end(grace: Duration) -> Result<Vec<String>> {
    let deadline = Instant::now() + grace;
    let mut killed = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Err(nix::Error::ECHILD) => return Ok(killed),
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(WaitStatus::StillAlive) => {
                if Instant::now() > deadline {
                    kill_children(&mut killed)?;
                }
                sleep(Duration::from_millis(20));
            }
            Ok(_) => {}
        }
    }
}

/// Kills the children of now; their own become ours, and are met in the next round.
fn kill_children(killed: &mut Vec<String>) -> Result<()> {
    for task in fs::read_dir("/proc/self/task")? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        for pid in children.split_whitespace() {
            let is_dead = |status: &str| status.contains("State:\tZ");
            if fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !is_dead(&status)) {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                killed.push(format!("{pid} {}", String::from_utf8_lossy(&command).replace('\0', " ")));
                let _ = kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL);
            }
        }
    }
    Ok(())
}

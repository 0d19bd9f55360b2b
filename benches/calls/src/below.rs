//! What anything like fsmasq costs at the least: a filter that looks at nothing, a tracer that stops nothing.

use anyhow::{Context, Result, bail};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Layer {
    /// A seccomp filter that lets all calls pass.
    Filter,
    /// A tracer of all tasks, without a filter.
    Tracer,
}

/// Runs a command below the layer; the exit status is the command's.
pub fn run(layer: Layer, command: Vec<OsString>) -> Result<()> {
    let words: Vec<CString> =
        command.into_iter().map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?;
    let program = words.first().context("no command")?.clone();
    match layer {
        Layer::Filter => {
            install_empty_filter()?;
            execvp(&program, &words).context("executing the command")?;
            Ok(())
        }
        // SAFETY: this process has one thread.
        Layer::Tracer => match unsafe { fork() }? {
            ForkResult::Child => {
                raise(Signal::SIGSTOP)?;
                execvp(&program, &words).context("executing the command")?;
                Ok(())
            }
            ForkResult::Parent { child } => trace(child),
        },
    }
}

fn install_empty_filter() -> Result<()> {
    let mut allow = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let program = libc::sock_fprog { len: 1, filter: &raw mut allow };
    // SAFETY: the kernel copies the program, which lives until the call returns.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if !done {
        bail!("no filter can be installed: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// Lets everything go on that stops, until the command has ended.
fn trace(child: Pid) -> Result<()> {
    waitpid(child, Some(WaitPidFlag::WUNTRACED))?;
    let all = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::seize(child, all | Options::PTRACE_O_EXITKILL)?;
    nix::sys::signal::kill(child, Signal::SIGCONT)?;
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(pid, code) if pid == child => std::process::exit(code),
            WaitStatus::Signaled(pid, ..) if pid == child => bail!("the command was killed"),
            // Signals of the command's own are none of this.
            WaitStatus::Stopped(pid, signal) if signal != Signal::SIGTRAP => {
                let _ = ptrace::cont(pid, Some(signal));
            }
            WaitStatus::Stopped(pid, _) | WaitStatus::PtraceEvent(pid, ..) => {
                let _ = ptrace::cont(pid, None);
            }
            _ => {}
        }
    }
}

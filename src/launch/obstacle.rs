//! What can stand in the way, and what to do about it.

use crate::command::CommandError;
use crate::status::Status;
use std::fs;

/// Why the command did not begin.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("can't start the tracer: {0}; is a limit on processes or descriptors reached (ulimit -u, -n)?")]
    Start(nix::Error),
    #[error("the tracer ended before the command began: {0}; was it killed, or is memory short?")]
    Handshake(nix::Error),
    #[error(
        "this process is traced already, by {tracer} (pid {pid}), and a process can have one tracer only. {remedy}"
    )]
    TracedAlready { tracer: String, pid: i32, remedy: &'static str },
    #[error("ptrace is not allowed here: {why}. {remedy}")]
    PtraceForbidden { why: String, remedy: &'static str },
}

impl LaunchError {
    /// 127 where the program was not found, 126 where it can't be executed, otherwise 125: as env(1).
    pub fn exit_code(&self) -> u8 {
        match self {
            LaunchError::Command(CommandError::NotFound { .. }) => 127,
            LaunchError::Command(CommandError::NotExecutable { .. }) => 126,
            _ => 125,
        }
    }
}

/// A process that is traced can't be seized.
pub fn refuse_second_tracer() -> Result<(), LaunchError> {
    let pid = Status::of_self().and_then(|status| status.number("TracerPid")).unwrap_or(0);
    if pid == 0 {
        return Ok(());
    }
    let tracer = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_else(|_| "?".to_owned());
    let tracer = tracer.trim_end().to_owned();
    let remedy = if tracer == "fsmasq" {
        "One fsmasq serves everything below it: leave out the inner one."
    } else {
        "Start fsmasq without it; `fsmasq -v COMMAND` shows what fsmasq itself does."
    };
    Err(LaunchError::TracedAlready { tracer, pid, remedy })
}

/// Who may trace, by kernel.yama.ptrace_scope; empty without Yama. To be asked before the filter is installed.
pub fn yama_scope() -> String {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default()
}

/// PTRACE_SEIZE was refused.
pub fn seize_refused(errno: i32, yama: &str) -> LaunchError {
    let errno = nix::Error::from_raw(errno);
    let (why, remedy) = match (errno, yama.trim()) {
        (nix::Error::ENOSYS, _) => (
            "this kernel or sandbox has no ptrace".to_owned(),
            "Use a sandbox that has it; gVisor's platforms systrap, kvm and ptrace do.",
        ),
        (_, "3") => (
            "kernel.yama.ptrace_scope is 3 (nobody may trace)".to_owned(),
            "Only a reboot can change it: set kernel.yama.ptrace_scope=1 in /etc/sysctl.d.",
        ),
        (_, "2") => (
            "kernel.yama.ptrace_scope is 2 (only with CAP_SYS_PTRACE)".to_owned(),
            "Run fsmasq as root, or: sysctl -w kernel.yama.ptrace_scope=1",
        ),
        (errno, _) => (
            format!("{errno}"),
            "Is it traced from outside this PID namespace? In a container, add the capability (--cap-add=SYS_PTRACE, or \
             securityContext.capabilities.add: [SYS_PTRACE]) and a seccomp profile that allows ptrace.",
        ),
    };
    LaunchError::PtraceForbidden { why, remedy }
}

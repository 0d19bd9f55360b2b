//! The tracer's process: out of the family, holding nothing that the command's caller waits for.

use super::Logging;
use super::handshake::{Channel, FromCommand, FromTracer};
use crate::handlers::Environment;
use crate::ptrace::{self, Options, Tid};
use crate::rules::Rules;
use crate::tracer::{Engine, Farewell, Progress, Tracer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::{Pid, setsid};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::rc::Rc;

/// Seizes the command's process and serves its tree until the last task has ended.
pub fn run(command: Pid, channel: Channel, rules: Rules, logging: Logging) {
    leave_the_family(&channel, logging.file.as_ref());
    let leader = Tid(command.as_raw());
    if channel.send(FromTracer::Hello { pid: Pid::this().as_raw() }).is_err() {
        return;
    }
    let Ok(FromCommand::Seize) = channel.receive() else { return };
    let options = Options { reporting_ends: logging.summary };
    let answer = match ptrace::seize(leader, options) {
        Ok(()) => FromTracer::Seized,
        Err(errno) => FromTracer::Refused { errno: errno as i32 },
    };
    if channel.send(answer).is_err() || answer != FromTracer::Seized {
        return;
    }
    // Without an answer the command's process failed before it began, and ends.
    let engine = match channel.receive() {
        Ok(FromCommand::Begin(engine)) => engine,
        _ => Engine::Seccomp,
    };
    if engine == Engine::AllStops {
        // Stops are made only by a task that is resumed for them, so it has to stop once.
        let _ = ptrace::interrupt(leader);
    }

    let summary = logging.summary;
    let on_stderr = logging.file.is_none();
    let summary_file = logging.file.as_ref().and_then(|file| file.try_clone().ok());
    crate::log::start(logging.verbosity, logging.format, logging.file);
    check_proc();
    let environment = Rc::new(Environment::new(rules));
    let farewell = summary.then(|| farewell(&environment, summary_file));
    let mut tracer = Tracer::new(leader, engine, options, environment, farewell);
    let _ = channel.send(FromTracer::Ready);
    drop(channel);

    loop {
        match tracer.run() {
            // The caller may wait for the end of its pipe, while tasks that the command left go on.
            Progress::CommandEnded if on_stderr && !summary => let_go_of(libc::STDERR_FILENO),
            Progress::CommandEnded => {}
            Progress::Finished => return,
        }
    }
}

/// Counts from now on, and says the counts at the end.
fn farewell(environment: &Rc<Environment>, file: Option<File>) -> Farewell {
    environment.statistics.want();
    let environment = Rc::clone(environment);
    Box::new(move || {
        let text = environment.statistics.summary();
        match file {
            Some(mut file) => drop(file.write_all(text.as_bytes())),
            None => crate::log::say(&text),
        }
    })
}

/// A session of its own, no terminal, no folder, no pipe of the caller's; deaf to the signals that are
/// meant for the command's group.
fn leave_the_family(channel: &Channel, log: Option<&File>) {
    let _ = setsid();
    for ignored in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
        Signal::SIGALRM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGXCPU,
        Signal::SIGXFSZ,
    ] {
        // SAFETY: no handler is installed.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    // SAFETY: as above.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    lift_limits();
    let _ = std::env::set_current_dir("/");
    // Its death is the death of all tracees: let the kernel kill something else. Needs privilege.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let_go_of(libc::STDIN_FILENO);
    let_go_of(libc::STDOUT_FILENO);
    if log.is_some() {
        let_go_of(libc::STDERR_FILENO);
    }
    close_all_but(&[Some(channel.descriptor()), log.map(AsRawFd::as_raw_fd)]);
}

/// The caller's limits are the command's. They would end, or hinder, the tracer of a whole tree.
fn lift_limits() {
    use Resource::{RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE};
    for resource in [RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE] {
        let lifted = setrlimit(resource, libc::RLIM_INFINITY, libc::RLIM_INFINITY);
        // Without privilege, or for descriptors, the hard limit is the most that can be had.
        if lifted.is_err()
            && let Ok((_, hard)) = getrlimit(resource)
        {
            let _ = setrlimit(resource, hard, hard);
        }
    }
}

fn let_go_of(fd: i32) {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        // SAFETY: both descriptors are open, or the call fails; nobody owns 0, 1 and 2.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    } else {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// Closes what was inherited, beyond the standard descriptors.
fn close_all_but(kept: &[Option<i32>]) {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = folder.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open {
        if fd > libc::STDERR_FILENO && !kept.contains(&Some(fd)) {
            // SAFETY: nothing in this process owns it: it came from the caller.
            unsafe { libc::close(fd) };
        }
    }
}

/// Task ids must mean the same in /proc as in wait statuses.
fn check_proc() {
    let seen = fs::read_link("/proc/self").ok().and_then(|l| l.to_str()?.parse::<i32>().ok());
    if seen != Some(Pid::this().as_raw()) {
        tracing::warn!(
            "/proc is not mounted, or that of another PID namespace: mount tables are shown as they are, only \
             statfs is rewritten. Mount one: mount -t proc proc /proc"
        );
    }
}

//! The tracer's process: out of the family, holding nothing that the command's caller waits for.

use super::Logging;
use super::handshake::{Channel, FromCommand, FromTracer};
use super::title;
use crate::fast_path::FastPath;
use crate::handlers::Environment;
use crate::held;
use crate::log::Format;
use crate::ptrace::{self, Options, Tid};
use crate::rules::Rules;
use crate::tracer::{Engine, Farewell, Progress, Tracer};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::rc::Rc;

/// Seizes the command's process and serves its tree until the last task has ended.
pub fn run(command: Pid, channel: Channel, rules: Rules, patience: Option<u8>, logging: Logging) {
    leave_the_family(&channel, logging.file.as_ref());
    title::set(command.as_raw());
    let leader = Tid(command.as_raw());
    if channel.send(FromTracer::Hello { pid: Pid::this().as_raw() }).is_err() {
        return;
    }
    let Ok(FromCommand::Seize(engine)) = channel.receive() else { return };
    let options = Options { reporting_ends: logging.summary };
    if let Err(errno) = ptrace::seize(leader, options) {
        let _ = channel.send(FromTracer::Refused { errno: errno as i32 });
        return;
    }
    // From now on the leader may stop at any moment: nothing here may wait for it but the loop.
    if engine == Engine::AllStops {
        // Stops are made only by a task that is resumed for them, so it has to stop once.
        let _ = ptrace::interrupt(leader);
    }

    let summary = logging.summary;
    let on_stderr = logging.file.is_none();
    let summary_file = logging.file.as_ref().and_then(|file| file.try_clone().ok());
    crate::log::start(logging.verbosity, logging.format, logging.file);
    check_proc();
    // Where all calls stop, a stub's do.
    let patience = patience.filter(|_| engine == Engine::Seccomp);
    let environment = Rc::new(Environment::new(rules, patience));
    let farewell = summary.then(|| farewell(&environment, logging.format, summary_file));
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
fn farewell(environment: &Rc<Environment>, format: Format, file: Option<File>) -> Farewell {
    environment.statistics.want();
    let environment = Rc::clone(environment);
    Box::new(move || {
        let sites = environment.fast_path.as_ref().map(FastPath::counts);
        let text = environment.statistics.summary(format, sites.unwrap_or_default());
        match file {
            Some(mut file) => drop(file.write_all(text.as_bytes())),
            None => crate::log::say(&text),
        }
    })
}

/// No folder, no pipe of the caller's; deaf to the signals that are
/// meant for the command's group.
fn leave_the_family(channel: &Channel, log: Option<&File>) {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    lift_limits();
    // All looks at tasks are relative to the /proc of now: something else may be mounted over it later.
    if std::env::set_current_dir("/proc").is_err() {
        let _ = std::env::set_current_dir("/");
    }
    // Its death is the death of all tracees: let the kernel kill something else. Needs privilege.
    let _ = fs::write("self/oom_score_adj", "-1000");
    let_go_of(libc::STDIN_FILENO);
    let_go_of(libc::STDOUT_FILENO);
    if log.is_some() || fcntl(std::io::stderr(), FcntlArg::F_GETFD).is_err() {
        let_go_of(libc::STDERR_FILENO);
    } else {
        held::hold_stderr();
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
    let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") else {
        // SAFETY: nobody owns 0, 1 and 2.
        unsafe { libc::close(fd) };
        return;
    };
    if null.as_raw_fd() == fd {
        // It was closed, and took the number itself.
        let _ = null.into_raw_fd();
    } else {
        // SAFETY: the source is open; nobody owns 0, 1 and 2.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
}

/// Closes what was inherited, beyond the standard descriptors.
fn close_all_but(kept: &[Option<RawFd>]) {
    let mut kept: Vec<RawFd> = kept.iter().flatten().copied().collect();
    kept.sort_unstable();
    let mut from = libc::STDERR_FILENO + 1;
    for end in kept.into_iter().chain([RawFd::MAX]) {
        if from < end {
            close_range(from, end - 1);
        }
        from = end.saturating_add(1);
    }
}

/// Closes a range of descriptors, both ends included.
fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: no pointers; nothing in this process owns what came from the caller.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Before Linux 5.9.
    let Ok(folder) = fs::read_dir("self/fd") else { return };
    let open: Vec<RawFd> = folder.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// Task ids must mean the same in /proc as in wait statuses.
fn check_proc() {
    let seen = fs::read_link("self").ok().and_then(|l| l.to_str()?.parse::<i32>().ok());
    if seen != Some(Pid::this().as_raw()) {
        tracing::warn!(
            "/proc is not mounted, or that of another PID namespace: mount tables are shown as they are, only \
             statfs is rewritten. Mount one: mount -t proc proc /proc"
        );
    }
}

//! stress-ng's stressors that verify themselves, each with a fixed number of operations: nothing depends on time.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::parity::readers::last_lines;
use crate::parity::suite::{Context, Finished, Job, Missing, Outcome, Place, Plan, Suite, Verdict, Verdicts};
use crate::tools::run;

/// By class: stressors with their number of operations, for two instances together.
const CLASSES: &[(&str, &[(&str, u32)])] = &[
    (
        "processes",
        &[
            ("fork", 200),
            ("vfork", 200),
            ("vforkmany", 200),
            ("clone", 20),
            ("exec", 60),
            ("spawn", 60),
            ("daemon", 40),
            ("zombie", 100),
            ("session", 60),
            ("wait", 60),
            ("kill", 2000),
            ("exit-group", 10),
            ("nop", 100),
            ("pidfd", 200),
            ("set", 20),
            ("get", 20),
            ("env", 5),
            ("nice", 20),
            ("schedpolicy", 200),
            ("resched", 40),
            ("prctl", 60),
            ("kcmp", 200),
            ("personality", 20),
            ("unshare", 8),
            ("chroot", 60),
            ("rlimit", 50),
            ("dynlib", 30),
        ],
    ),
    (
        "threads",
        &[
            ("pthread", 100),
            ("futex", 2000),
            ("mutex", FOR_A_SECOND),
            ("sem", FOR_A_SECOND),
            ("sem-sysv", 500),
            ("membarrier", 60),
            ("rseq", 2000),
            ("tlb-shootdown", 20),
            ("switch", FOR_A_SECOND),
            ("yield", FOR_A_SECOND),
            ("context", 200),
        ],
    ),
    (
        "signals",
        &[
            ("sigabrt", 30),
            ("sigchld", 60),
            ("sigfd", 500),
            ("sigfpe", 300),
            ("sigio", FOR_A_SECOND),
            ("signal", 2000),
            ("signest", 20),
            ("sigpending", 500),
            ("sigpipe", 100),
            ("sigq", 1000),
            ("sigrt", 500),
            ("sigsegv", 300),
            ("sigsuspend", 200),
            ("sigtrap", 300),
            ("bad-altstack", 60),
            ("fault", 60),
            ("stack", 5),
            ("opcode", 60),
            ("alarm", FOR_A_SECOND),
            ("itimer", 50),
            ("timer", 500),
            ("timerfd", 200),
            ("longjmp", 2000),
        ],
    ),
    (
        "tracing",
        &[("ptrace", 100), ("seccomp", 60), ("usersyscall", 200), ("enosys", 1), ("x86syscall", 200)],
    ),
    (
        "calls that block",
        &[
            ("nanosleep", 60),
            ("sleep", 20),
            ("clock", 60),
            ("hrtimers", 100),
            ("epoll", 200),
            ("poll", 100),
            ("eventfd", 1000),
            ("inotify", 20),
            ("fanotify", 20),
            ("msg", 1000),
            ("mq", 1000),
            ("pipe", 2000),
            ("fifo", 1000),
            ("sock", 20),
            ("sockfd", 200),
            ("sockpair", 500),
            ("udp", 500),
            ("flock", 500),
            ("lockf", 500),
            ("lockofd", 500),
            ("lease", 50),
            ("aio", 200),
            ("io-uring", 100),
            ("pty", 2),
            ("ring-pipe", 1000),
        ],
    ),
    (
        "files",
        &[
            ("access", 60),
            ("chmod", 60),
            ("copy-file", 20),
            ("dentry", 100),
            ("dir", 100),
            ("dup", 100),
            ("fcntl", 200),
            ("fstat", 200),
            ("getdent", 20),
            ("handle", 200),
            ("memfd", 1),
            ("mknod", 200),
            ("open", 500),
            ("rename", 100),
            ("seek", 500),
            ("sendfile", 50),
            ("splice", 100),
            ("sysinfo", 200),
            ("tee", 50),
            ("touch", 200),
            ("utime", 200),
            ("xattr", 20),
            ("null", 200),
            ("urandom", 20),
        ],
    ),
    (
        "memory",
        &[
            ("mmap", 10),
            ("mmapfork", 3),
            ("mmapfixed", 200),
            ("mmapmany", 10),
            ("mlock", 50),
            ("mprotect", 500),
            ("mremap", 20),
            ("msync", 50),
            ("munmap", 20),
            ("madvise", 10),
            ("mincore", 50),
            ("brk", 200),
            ("shm", 10),
            ("shm-sysv", 10),
            ("userfaultfd", 500),
            ("pkey", 50),
            ("vm-rw", 50),
            ("vm-segv", 50),
            ("vdso", 1000),
            ("remap", 4),
        ],
    ),
];

/// Instead of a number of operations: natively, too, these don't end with the last one, or fail if it comes early.
const FOR_A_SECOND: u32 = 0;

pub fn suites() -> Vec<Suite> {
    vec![Suite {
        name: "stress-ng",
        about: "stressors of processes, threads, signals, tracing, blocking calls, files, memory, each verified",
        long: false,
        places: &[Place::Linux, Place::Gvisor],
        make: plan,
    }]
}

fn plan(context: &Context) -> Result<Plan, Missing> {
    context.cache.debian(&["stress-ng"])?;
    let known =
        run(std::process::Command::new("stress-ng").arg("--stressors")).context("asking stress-ng")?;
    let known = String::from_utf8_lossy(&known).into_owned();
    let mut plan = Plan::new(Vec::new());
    for (_, stressors) in CLASSES {
        for (stressor, operations) in *stressors {
            if !known.split_whitespace().any(|name| name == *stressor) {
                plan.skipped.push(format!("{stressor}: not in this stress-ng"));
                continue;
            }
            plan.jobs.push(job(stressor, *operations));
        }
    }
    Ok(plan)
}

fn job(stressor: &'static str, operations: u32) -> Job {
    let mut words = vec!["stress-ng".to_owned(), format!("--{stressor}"), "2".to_owned()];
    if operations == FOR_A_SECOND {
        words.extend(["--timeout", "1"].map(str::to_owned));
    } else {
        words.extend([
            "--timeout".to_owned(),
            "0".to_owned(),
            format!("--{stressor}-ops"),
            operations.to_string(),
        ]);
    }
    words.extend(["--verify", "--metrics-brief", "--temp-path", "."].map(str::to_owned));
    Job::new(stressor, words, Duration::from_secs(60), read)
}

fn read(finished: &Finished) -> Verdicts {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    let outcome = match finished.status.map(|status| status.code()) {
        None => Outcome::Hung,
        Some(Some(0)) if said.contains("will be skipped") || said.contains("No stress workers") => {
            Outcome::Skipped
        }
        Some(Some(0)) if said.contains(": fail:") => Outcome::Failed,
        Some(Some(0)) => Outcome::Passed,
        // Not implemented on this machine.
        Some(Some(4)) => Outcome::Skipped,
        Some(_) => Outcome::Failed,
    };
    let detail = format!("{:?}\n{}", finished.status, last_lines(&said, 12));
    Verdicts::from([("verified".to_owned(), Verdict::detailed(outcome, detail))])
}

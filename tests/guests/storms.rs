//! Trees in which tasks come, go, stop and die at any moment.

use super::tables::become_guest;
use super::tasks::magic;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// A generator of numbers that a seed determines (Marsaglia's xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the callers have one thread, or the child makes no use of the others' locks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        child();
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) }
    }
    pid
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: no pointers; children of ours that were not waited for, or groups of such.
    unsafe { libc::kill(pid, signal) };
}

/// Waits; None where there is nobody.
fn wait(pid: i32) -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: a local variable.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    (pid > 0).then_some((pid, status))
}

/// What the victims do, over and over.
fn work_for_ever(job: u64, path: &'static str) {
    let look = move || {
        let _ = fs::read(path);
        magic("/");
    };
    match job {
        0 => loop {
            look();
        },
        // Threads that come and go.
        1 => loop {
            let _ = std::thread::Builder::new().stack_size(32 << 10).spawn(look).map(|t| t.join().is_ok());
        },
        // Threads in the middle of tables when their process ends, or executes a program.
        2 | 3 => loop {
            wait(fork(|| {
                for _ in 0..4 {
                    let _ = std::thread::Builder::new().stack_size(32 << 10).spawn(move || {
                        loop {
                            look()
                        }
                    });
                }
                std::thread::sleep(Duration::from_micros(500));
                if job == 2 {
                    // SAFETY: ends all threads.
                    unsafe { libc::syscall(libc::SYS_exit_group, 0) };
                }
                let _ = std::thread::spawn(|| become_guest("nothing", &[])).join();
            }));
        },
        // Children, and the children of those, left behind.
        4 => loop {
            wait(fork(|| {
                fork(look);
                look();
            }));
        },
        _ => loop {
            wait(fork(|| become_guest("nothing", &[])));
        },
    }
}

/// Kills what it starts, at moments that the seed determines, while another process is served all the time.
pub fn killed(seed: u64, rounds: usize, path: &'static str) {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let expected = fs::read(path).unwrap();
    // Lives as long as this process, and dies of a table that is not as the first one was.
    let (mut gate, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let witness = fork(|| {
        theirs.set_nonblocking(true).unwrap();
        let mut looks = 0u64;
        while std::io::Read::read(&mut &theirs, &mut [0]).is_err() {
            assert!(fs::read(path).unwrap() == expected, "another table");
            looks += 1;
        }
        assert!(looks > 0, "not served");
    });
    let mut random = Random::new(seed);
    for _ in 0..rounds {
        let job = random.below(6);
        let victim = fork(|| {
            // SAFETY: no pointers.
            unsafe { libc::setpgid(0, 0) };
            work_for_ever(job, path);
        });
        // SAFETY: no pointers; the victim may have done it itself.
        unsafe { libc::setpgid(victim, victim) };
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        match random.below(3) {
            // It alone: what it left goes on a little.
            0 => kill(victim, libc::SIGKILL),
            1 => kill(-victim, libc::SIGKILL),
            _ => {
                kill(-victim, libc::SIGSTOP);
                kill(victim, libc::SIGKILL);
                kill(-victim, libc::SIGCONT);
            }
        }
        kill(-victim, libc::SIGKILL);
        wait(victim).unwrap();
        // Forks that were under way when the group was killed, and orphans: all end.
        while kill_rest(witness, victim) {}
    }
    gate.write_all(b"x").unwrap();
    assert_eq!(wait(witness), Some((witness, 0)));
    assert_eq!(wait(-1), None, "children that nobody made");
    println!("served");
}

/// Waits for one more child that is not the witness; false where there is none.
fn kill_rest(witness: i32, group: i32) -> bool {
    kill(-group, libc::SIGKILL);
    // SAFETY: a struct of ours; the status is left.
    let pid = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let wanted = libc::WEXITED | libc::WNOWAIT;
        let group = u32::try_from(group).unwrap();
        if libc::waitid(libc::P_PGID, group, &raw mut info, wanted) == -1 { -1 } else { info.si_pid() }
    };
    pid > 0 && pid != witness && wait(pid).is_some()
}

/// Processes that stop and continue each other while they read tables.
pub fn stop_and_continue(seed: u64, path: &'static str) {
    const WORKERS: usize = 4;
    const LOOKS: usize = 60;
    let expected = fs::read(path).unwrap();
    let parent = std::process::id() as i32;
    // SAFETY: shared memory for the workers' ids, zero to begin with.
    let ids = unsafe {
        libc::mmap(std::ptr::null_mut(), 4096, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
            .cast::<[std::sync::atomic::AtomicI32; WORKERS]>()
            .as_ref()
            .unwrap()
    };
    let workers: Vec<i32> = (0..WORKERS)
        .map(|own| {
            fork(|| {
                let mut random = Random::new(seed + own as u64);
                for _ in 0..LOOKS {
                    assert!(fs::read(path).unwrap() == expected, "another table");
                    let other = ids[random.below(WORKERS as u64) as usize].load(Ordering::Relaxed);
                    if other > 0 && other != std::process::id() as i32 {
                        kill(other, [libc::SIGSTOP, libc::SIGTSTP][random.below(2) as usize]);
                        kill(other, libc::SIGCONT);
                        kill(other, libc::SIGSTOP);
                    }
                }
                assert_eq!(nix::unistd::getppid().as_raw(), parent);
            })
        })
        .collect();
    for (id, worker) in ids.iter().zip(&workers) {
        id.store(*worker, Ordering::Relaxed);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let waker = {
        let (stop, workers) = (stop.clone(), workers.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                workers.iter().for_each(|worker| kill(*worker, libc::SIGCONT));
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    // Not reaped before all have ended: an id must stay theirs while signals are sent.
    for worker in &workers {
        // SAFETY: a struct of ours.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let id = u32::try_from(*worker).unwrap();
            assert_eq!(libc::waitid(libc::P_PID, id, &raw mut info, libc::WEXITED | libc::WNOWAIT), 0);
        }
    }
    stop.store(true, Ordering::Relaxed);
    waker.join().unwrap();
    for worker in workers {
        assert_eq!(wait(worker), Some((worker, 0)));
    }
    println!("all through");
}

/// One process after the other under the same id.
pub fn same_id(rounds: usize, path: &str) {
    let expected = fs::read(path).unwrap();
    let id = fork(|| ());
    wait(id).unwrap();
    for round in 0..rounds {
        let ids = [id];
        // struct clone_args (linux/sched.h); set_tid is the ninth word, its length the tenth.
        let mut arguments = [0u64; 11];
        arguments[4] = libc::SIGCHLD as u64;
        arguments[8] = ids.as_ptr() as u64;
        arguments[9] = 1;
        // SAFETY: like fork; one thread.
        let child = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), 88) };
        if child == 0 {
            let same = fs::read(path).unwrap() == expected;
            if round % 3 == 0 {
                kill(id, libc::SIGKILL);
            }
            // SAFETY: no preconditions.
            unsafe { libc::_exit(i32::from(!same)) }
        }
        assert_eq!(child, i64::from(id), "{}", std::io::Error::last_os_error());
        let expected = if round % 3 == 0 { libc::SIGKILL } else { 0 };
        assert_eq!(wait(id), Some((id, expected)));
    }
    println!("{rounds} times the same id");
}

/// So many threads at once, some of which read tables; what the tracer's memory then is, in KiB.
pub fn many_threads(count: usize, path: &str) {
    let expected = fs::read(path).unwrap();
    let (started, finish) = (Barrier::new(count + 1), Barrier::new(count + 1));
    let looks = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..count {
            let (started, finish, looks, expected) = (&started, &finish, &looks, &expected);
            let body = move || {
                started.wait();
                if number % 50 == 0 {
                    assert!(fs::read(path).unwrap() == *expected, "another table");
                    looks.fetch_add(1, Ordering::Relaxed);
                }
                finish.wait();
            };
            std::thread::Builder::new().stack_size(32 << 10).spawn_scoped(scope, body).unwrap();
        }
        started.wait();
        finish.wait();
        println!("{} looks", looks.load(Ordering::Relaxed));
        println!("tracer: {} KiB at the most", tracer_peak());
    });
}

/// The tracer's VmHWM in KiB; 0 without a tracer, and in gVisor, which doesn't say.
fn tracer_peak() -> u64 {
    let field = |path: String, name: &str| -> Option<u64> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    match field("/proc/self/status".into(), "TracerPid") {
        None | Some(0) => 0,
        Some(tracer) => field(format!("/proc/{tracer}/status"), "VmHWM").unwrap_or(0),
    }
}

/// Forks, executions and threads as fast as they go; so many of each.
pub fn storm_of_tasks(count: usize, path: &'static str) {
    let expected: Arc<Vec<u8>> = Arc::new(fs::read(path).unwrap());
    let worker = |kind: usize| {
        let expected = Arc::clone(&expected);
        fork(move || {
            for number in 0..count {
                let expected = Arc::clone(&expected);
                let look = move || {
                    if number % 10 == 0 {
                        assert!(fs::read(path).unwrap() == *expected, "another table");
                    }
                };
                match kind {
                    0 => assert_eq!(wait(fork(look)).unwrap().1, 0),
                    1 => assert_eq!(wait(fork(|| become_guest("nothing", &[]))).unwrap().1, 0),
                    _ => {
                        std::thread::Builder::new().stack_size(32 << 10).spawn(look).unwrap().join().unwrap()
                    }
                }
            }
        })
    };
    let workers: Vec<i32> = (0..3).map(worker).collect();
    for worker in workers {
        assert_eq!(wait(worker), Some((worker, 0)));
    }
    println!("{count} of each");
}

/// Mounts so many times, under names as long and odd as they may be, and reads its table.
pub fn many_mounts(count: usize, folder: &str) {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    mount(Some("a source"), folder, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let mut deep = folder.to_owned();
    for part in ["new\nline", " - 9p x", "back\\slash\\040", "#hash\ttab", "9p"] {
        deep = format!("{deep}/{part}");
        fs::create_dir(&deep).unwrap();
    }
    let name = "n\n \\".repeat(63);
    while deep.len() + 2 * name.len() < 4000 {
        deep = format!("{deep}/{name}");
        fs::create_dir(&deep).unwrap();
    }
    mount(Some("deep source"), deep.as_str(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
    // Each at a place of its own: a walk past mounts on mounts takes time for each.
    for number in 0..count {
        let point = format!("{folder}/9p{number}");
        fs::create_dir(&point).unwrap();
        mount(Some(folder), point.as_str(), none, MsFlags::MS_BIND, none).unwrap();
    }
    let path = "/proc/self/mountinfo";
    std::io::stdout().write_all(&fs::read(path).unwrap()).unwrap();
}

//! Signals that come while the prefix starts do what they do without it.

use crate::common::run::{tracer_of, wait};
use crate::common::{Case, Engine, bare_guest, both};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub fn cases() -> Vec<Case> {
    both!(&[];
        ignored_signals_that_come_while_the_prefix_starts_keep_nothing_from_beginning,
        a_group_that_is_stopped_and_continued_while_the_prefix_starts_begins,
        a_deadly_signal_that_comes_as_soon_as_the_tracer_is_there_kills,
    )
}

/// So many signals come without a pause.
const BURST: usize = 6;
/// Then there is one, of so many microseconds or less: without, what shares its processor with whoever sends
/// them comes no further.
const PAUSES: u64 = 300;

/// In a group of its own, with its parent outside of it: an orphaned group can't be stopped by a key.
fn start(mut command: Command) -> Child {
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Sends signals to the child's group until it says that it has begun; then lets it end.
#[track_caller]
fn begins_below(engine: Engine, signals: &[i32]) {
    let mut pauses = (0..PAUSES).cycle();
    for round in 0..100 {
        // Once without, for this is how it is natively.
        let mut child = start(if round == 0 { bare_guest("stop") } else { engine.prefix().guest("stop") });
        let group = i32::try_from(child.id()).unwrap();
        let has_begun = AtomicBool::new(false);
        let mut stdout = BufReader::with_capacity(1, child.stdout.take().unwrap());
        let line = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let line = next_line(&mut stdout);
                has_begun.store(true, Ordering::Relaxed);
                line
            });
            while !has_begun.load(Ordering::Relaxed) {
                for signal in signals.iter().cycle().take(BURST) {
                    // SAFETY: no pointers; the group of our own child, which has not been waited for.
                    unsafe { libc::kill(-group, *signal) };
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_micros(pauses.next().unwrap()));
            }
            reader.join().unwrap()
        });
        if line.is_none() {
            give_up(&mut child);
        }
        assert_eq!(line, Some(format!("ready {group}\n")), "round {round}");
        child.stdout = Some(stdout.into_inner());
        drop(child.stdin.take());
        wait(child, "a guest").success();
    }
}

/// None where nothing comes for long.
fn next_line(stdout: &mut BufReader<ChildStdout>) -> Option<String> {
    let ready = {
        let mut fds = [PollFd::new(stdout.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(20_000u16)) == Ok(1)
    };
    let mut line = String::new();
    (ready && stdout.read_line(&mut line).unwrap() > 0).then_some(line)
}

fn give_up(child: &mut Child) {
    if let Some(tracer) = tracer_of(child.id()) {
        // SAFETY: no pointers; the tracer of our own child.
        unsafe { libc::kill(tracer, libc::SIGKILL) };
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn ignored_signals_that_come_while_the_prefix_starts_keep_nothing_from_beginning(engine: Engine) {
    begins_below(engine, &[libc::SIGWINCH, libc::SIGURG, libc::SIGCHLD]);
}

fn a_group_that_is_stopped_and_continued_while_the_prefix_starts_begins(engine: Engine) {
    begins_below(engine, &[libc::SIGTSTP, libc::SIGCONT]);
    begins_below(engine, &[libc::SIGSTOP, libc::SIGCONT]);
}

fn a_deadly_signal_that_comes_as_soon_as_the_tracer_is_there_kills(engine: Engine) {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGKILL, libc::SIGINT] {
        for _ in 0..10 {
            let child = start(engine.prefix().guest("stop"));
            while tracer_of(child.id()).is_none() {
                std::thread::yield_now();
            }
            // SAFETY: no pointers; our own child, which has not been waited for.
            unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) };
            assert_eq!(wait(child, "a guest that is told to end").status.signal(), Some(signal));
        }
    }
}

//! Blocking calls, each in a process of its own, while another process sends it signals: what each of
//! them answers in the end.

mod calls;
mod parts;

use super::calls::string;
use calls::TRIALS;
use parts::{Around, Call, Page};
use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Signals per call, each sent while it is blocked.
const SIGNALS: u32 = 5;
/// How long a call may block that something ends.
const LONG: Duration = Duration::from_secs(50);
/// Of calls that only their timeout ends, and how often signals come meanwhile.
const TIMEOUT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(20);
/// So many that the timeout is over several times, however slow the machine: then the call never ends.
const TOO_MANY: u32 = 500;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The signal's default is to be ignored.
    ByDefault,
    /// SIG_IGN.
    Ignored,
    /// A handler, with these flags.
    Handled(i32),
    /// The default again; nothing but its timeout ends the call.
    Timeout,
}

/// `SIGNAL ignored|by-default|handler|restart|timeout FOLDER [CALL]`: a line per call.
pub fn show(arguments: &[String]) {
    let [signal, mode, folder, wanted @ ..] = arguments else { panic!("interrupted SIGNAL MODE FOLDER") };
    let signal = signal.parse().unwrap();
    let mode = match mode.as_str() {
        "by-default" => Mode::ByDefault,
        "ignored" => Mode::Ignored,
        "handler" => Mode::Handled(0),
        "restart" => Mode::Handled(libc::SA_RESTART),
        "timeout" => Mode::Timeout,
        other => panic!("no mode {other}"),
    };
    // Queues and semaphores of its own, where that can be had: nothing stays of a program that is killed, and
    // nobody else's count.
    // SAFETY: no pointers.
    unsafe { libc::unshare(libc::CLONE_NEWIPC) };
    let trials: Vec<_> = TRIALS
        .iter()
        .filter(|(name, timed, _)| match mode {
            Mode::Timeout => *timed,
            _ => true,
        } && (wanted.is_empty() || wanted.iter().any(|w| w == name)))
        .map(|(name, _, make)| {
            let (answer, end) = nix::unistd::pipe().unwrap();
            // SAFETY: one thread.
            if unsafe { libc::fork() } == 0 {
                drop(answer);
                die_with_the_parent();
                let said = one(*make, mode, signal, folder);
                std::fs::File::from(end).write_all(said.as_bytes()).unwrap();
                // SAFETY: as above.
                unsafe { libc::_exit(0) }
            }
            (name, answer)
        })
        .collect();
    for (name, answer) in trials {
        let mut said = String::new();
        std::fs::File::from(answer).read_to_string(&mut said).unwrap();
        println!("{name}: {said}");
    }
}

extern "C" fn count(_: libc::c_int) {
    Page::get().handled.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn nothing(_: libc::c_int) {}

fn die_with_the_parent() {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
}

pub fn set_action(signal: i32, handler: usize, flags: i32) {
    // SAFETY: a struct of plain integers; the handlers are those above.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

/// Makes one call; in words, what it answered.
fn one(make: fn(&Around) -> Call, mode: Mode, signal: i32, folder: &str) -> String {
    Page::map();
    // What ends calls that wait for a signal.
    set_action(libc::SIGUSR2, nothing as *const () as usize, 0);
    match mode {
        Mode::ByDefault | Mode::Timeout => {}
        Mode::Ignored => set_action(signal, libc::SIG_IGN, 0),
        Mode::Handled(flags) => set_action(signal, count as *const () as usize, flags),
    }
    let patience = if mode == Mode::Timeout { TIMEOUT } else { LONG };
    let Call { block, release } = make(&Around { patience, folder: folder.to_owned() });
    // SAFETY: one thread.
    let own = unsafe { libc::getpid() };
    // SAFETY: as above.
    let sender = unsafe { libc::fork() };
    if sender == 0 {
        die_with_the_parent();
        let enough = if mode == Mode::Timeout {
            every_so_often(own, signal)
        } else {
            while_blocked(own, signal);
            release(own);
            false
        };
        if enough {
            // SAFETY: no pointers.
            unsafe { libc::kill(own, libc::SIGKILL) };
        }
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) }
    }
    let page = Page::get();
    page.inside.store(1, Ordering::SeqCst);
    let answer = block();
    page.inside.store(2, Ordering::SeqCst);
    let handled = page.handled.load(Ordering::SeqCst);
    // It may be about to send to a number that is somebody else's soon.
    // SAFETY: no pointers; our own child.
    unsafe {
        libc::kill(sender, libc::SIGKILL);
        libc::waitpid(sender, std::ptr::null_mut(), 0);
    }
    match mode {
        Mode::Handled(_) => format!("{answer}, handled {handled} times"),
        _ => answer.to_string(),
    }
}

/// Sends signals, each when the call is blocked (again).
fn while_blocked(target: i32, signal: i32) {
    for _ in 0..SIGNALS {
        if !wait_until_blocked(target) {
            return;
        }
        // SAFETY: no pointers; the parent.
        unsafe { libc::kill(target, signal) };
    }
    wait_until_blocked(target);
}

/// False where the call is over.
fn wait_until_blocked(target: i32) -> bool {
    let stat = format!("/proc/{target}/stat");
    loop {
        let inside = Page::get().inside.load(Ordering::SeqCst);
        if inside == 2 {
            return false;
        }
        let state = std::fs::read_to_string(&stat).unwrap();
        if inside == 1 && state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// True where the call doesn't end.
fn every_so_often(target: i32, signal: i32) -> bool {
    for _ in 0..TOO_MANY {
        std::thread::sleep(PAUSE);
        if Page::get().inside.load(Ordering::SeqCst) == 2 {
            return false;
        }
        // SAFETY: no pointers; the parent.
        unsafe { libc::kill(target, signal) };
    }
    true
}

/// A folder's file, as a C string.
fn path_in(folder: &str, name: &str) -> std::ffi::CString {
    // SAFETY: no preconditions.
    string(&format!("{folder}/{}-{name}", unsafe { libc::getpid() }))
}

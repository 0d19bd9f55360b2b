//! What may get in the way of calls that the tracer makes a program execute: filters of the program's own,
//! and signals.

use crate::common::needs::{Need, ROOT, SETPRIV, finds};
use crate::common::run::{assert_same_lines, same_but_masked, signal_of};
use crate::common::tables::masked;
use crate::common::{Case, Done, Engine, bare, bare_guest, both, finish, stage};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const CC: Need = Need::new("a C compiler", || finds("cc"));

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            filters_with_any_answer_to_any_injected_call_break_no_program,
            an_open_that_a_supervisor_refuses_or_answers_is_as_natively,
            an_open_that_a_supervisor_lets_pass_shows_what_the_kernel_says_at_worst,
            strict_mode_is_there_without_a_filter_above,
            queued_signals_come_once_each_and_in_order,
            registers_stay_while_a_timer_interrupts_all_the_time,
            a_process_that_is_stopped_all_the_time_reads_whole_tables,
        ),
        both!(&[CC]; handlers_that_jump_out_of_opens_leave_nothing_changed),
        both!(&[ROOT, SETPRIV];
            without_privilege_filters_with_any_answer_break_no_program,
            a_filter_of_an_unprivileged_program_below_a_privileged_tracer_breaks_nothing,
        ),
    ]
    .concat()
}

const INJECTED: [&str; 8] =
    ["mmap", "munmap", "memfd_create", "openat", "openat2", "dup3", "close", "rt_sigaction"];
const ANSWERS: [&str; 6] = ["errno", "trap", "kill-thread", "kill-process", "log", "trace"];
const TABLE: &str = "/proc/self/mountinfo";

/// Who runs what.
struct Below {
    /// In front of the launcher, and of the bare guest.
    outside: Vec<OsString>,
    /// Between the launcher and the guest.
    inside: Vec<OsString>,
    /// Whether the tracer may suspend filters: then nothing stays unmasked.
    privileged: bool,
}

fn nobody() -> Vec<OsString> {
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(OsString::from).to_vec()
}

fn finish_words(words: &[OsString], arguments: &[&str]) -> Done {
    let mut command = bare(&words[0]);
    command.args(&words[1..]).arg(&stage().guest).args(["--guest", "filtered"]).args(arguments);
    finish(command.env("RUST_BACKTRACE", "0"))
}

#[track_caller]
fn breaks_nothing(engine: Engine, below: &Below) {
    let folder = if stage().has_mounts { stage().quiet() } else { "/dev/shm".into() };
    for call in INJECTED {
        for answer in ANSWERS {
            let what = format!("{answer} at {call}");
            let arguments = [call, answer, TABLE, folder.to_str().unwrap()];
            let native = [&below.outside[..], &below.inside].concat();
            let expected = if native.is_empty() {
                finish(bare_guest("filtered").args(arguments))
            } else {
                finish_words(&native, &arguments)
            };
            let words = [below.outside.clone(), engine.prefix().words(), below.inside.clone()].concat();
            let seen = finish_words(&words, &arguments);
            assert_eq!(signal_of(&seen), signal_of(&expected), "{what}: {}", seen.errors());
            assert_eq!(seen.status.code(), expected.status.code(), "{what}: {}", seen.errors());
            // statfs needs no call of the tracer's.
            let expected = expected.stdout;
            let text = String::from_utf8_lossy(&masked(&expected)).into_owned();
            let magic = "a type that tmpfs has: ";
            assert!(text.contains(&format!("{magic}1\n")), "{what}: {text}");
            let text = text.replace(&format!("{magic}1\n"), &format!("{magic}0\n"));
            if below.privileged || seen.text() == text {
                assert_same_lines(&seen.text(), &text, &what);
                assert_eq!(seen.errors(), "", "{what}");
            } else {
                let bare = String::from_utf8_lossy(&expected).into_owned();
                let bare = bare.replace(&format!("{magic}1\n"), &format!("{magic}0\n"));
                assert_same_lines(&seen.text(), &bare, &what);
                assert!(seen.errors().contains("WARN"), "{what}: {}", seen.errors());
            }
        }
    }
}

fn filters_with_any_answer_to_any_injected_call_break_no_program(engine: Engine) {
    let privileged = stage().has_mounts;
    breaks_nothing(engine, &Below { outside: vec![], inside: vec![], privileged });
}

fn without_privilege_filters_with_any_answer_break_no_program(engine: Engine) {
    breaks_nothing(engine, &Below { outside: nobody(), inside: vec![], privileged: false });
}

fn a_filter_of_an_unprivileged_program_below_a_privileged_tracer_breaks_nothing(engine: Engine) {
    breaks_nothing(engine, &Below { outside: vec![], inside: nobody(), privileged: true });
}

fn an_open_that_a_supervisor_refuses_or_answers_is_as_natively(engine: Engine) {
    // What the supervisor opens itself and hands on is masked as any table.
    for action in ["refuse", "add"] {
        same_but_masked(engine, "supervised", &[action, TABLE]);
    }
}

/// A notification is a stronger answer than the launcher's: the call goes on by it, and passes no tracer.
fn an_open_that_a_supervisor_lets_pass_shows_what_the_kernel_says_at_worst(engine: Engine) {
    let arguments = ["continue", TABLE];
    let expected = finish(bare_guest("supervised").args(arguments)).quiet_success();
    let seen = finish(engine.prefix().guest("supervised").args(arguments)).quiet_success();
    if engine == Engine::AllStops || seen.stdout != expected.stdout {
        assert_eq!(seen.text(), String::from_utf8_lossy(&masked(&expected.stdout)));
    }
}

/// The kernel knows one mode at a time: below a filter the strict one is refused.
fn strict_mode_is_there_without_a_filter_above(engine: Engine) {
    let expected = finish(&mut bare_guest("strict")).quiet_success().text();
    assert_eq!(expected, "strict mode: 0\n");
    let seen = finish(&mut engine.prefix().guest("strict")).quiet_success().text();
    let allowed: &[&str] = match engine {
        Engine::Seccomp | Engine::FastPath => &["strict mode: 0\n", "strict mode: -22\n"],
        Engine::AllStops => &["strict mode: 0\n"],
    };
    assert!(allowed.contains(&seen.as_str()), "{seen}");
}

fn queued_signals_come_once_each_and_in_order(engine: Engine) {
    same_but_masked(engine, "storm", &["queued", TABLE]);
}

fn registers_stay_while_a_timer_interrupts_all_the_time(engine: Engine) {
    same_but_masked(engine, "storm", &["registers", TABLE]);
}

fn a_process_that_is_stopped_all_the_time_reads_whole_tables(engine: Engine) {
    same_but_masked(engine, "storm", &["stops", TABLE]);
}

fn jumping() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jump");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/jump.c");
        let mut command = Command::new("cc");
        command.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&to).arg(source);
        assert!(command.status().unwrap().success(), "cc");
        to
    })
}

fn handlers_that_jump_out_of_opens_leave_nothing_changed(engine: Engine) {
    let expected = finish(bare(jumping()).arg(TABLE)).quiet_success();
    let seen = finish(engine.prefix().command(jumping()).arg(TABLE)).quiet_success();
    assert_same_lines(&seen.text(), &String::from_utf8_lossy(&masked(&expected.stdout)), "jumps");
}

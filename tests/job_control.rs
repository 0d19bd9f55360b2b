//! Shells and their jobs on a terminal: what is typed and read is the same with the shell below the prefix,
//! with each job below one of its own, and without any.

use crate::common::needs::{BUSYBOX, Need, finds};
use crate::common::pty::{CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, Terminal, Tie};
use crate::common::{Case, Engine, both, stage};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

const BASH: Need = Need::new("bash", || finds("bash"));
const DASH: Need = Need::new("dash", || finds("dash"));

pub fn cases() -> Vec<Case> {
    [
        both!(&[BASH];
            jobs_of_a_bash_obey_the_keys,
            jobs_of_a_bash_in_the_background_are_stopped_at_the_terminal,
            jobs_of_a_bash_go_on_in_the_background,
            jobs_of_a_bash_in_a_pipeline_obey_the_keys,
            jobs_of_a_bash_meet_timeout_nohup_and_setsid,
            jobs_of_a_bash_see_the_terminals_size_change,
            jobs_of_a_bash_end_with_it,
            a_login_shell_is_one,
        ),
        both!(&[DASH];
            jobs_of_a_dash_obey_the_keys,
            jobs_of_a_dash_in_the_background_are_stopped_at_the_terminal,
            jobs_of_a_dash_go_on_in_the_background,
            jobs_of_a_dash_in_a_pipeline_obey_the_keys,
            jobs_of_a_dash_meet_timeout_nohup_and_setsid,
            jobs_of_a_dash_end_with_it,
        ),
        both!(&[BUSYBOX];
            jobs_of_a_busybox_obey_the_keys,
            jobs_of_a_busybox_in_the_background_are_stopped_at_the_terminal,
            jobs_of_a_busybox_in_a_pipeline_obey_the_keys,
        ),
    ]
    .concat()
}

/// What shells ask with when they are ready for a line.
const PROMPT: &str = "<ready>";
const BASH_WORDS: &[&str] = &["bash", "--noprofile", "--norc", "--noediting", "-i"];
const DASH_WORDS: &[&str] = &["dash", "-i"];
const BUSYBOX_WORDS: &[&str] = &["busybox", "sh", "-i"];

/// A job that says so when it has begun, so that keys reach it and not the shell.
const CAT: &str = "$P /bin/sh -c 'echo began; exec cat'";

/// Who is below the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Nobody,
    Shell,
    EachJob,
}

fn shell(engine: Engine, below: Below, words: &[&str], folder: &Path) -> Command {
    let prefix: Vec<OsString> = engine.prefix().words();
    let mut command = match below {
        Below::Shell => engine.prefix().command(words[0]),
        _ => Command::new(words[0]),
    };
    command.args(&words[1..]).current_dir(folder);
    command.env("PS1", PROMPT).env("TERM", "dumb").env("HISTFILE", "/dev/null").env_remove("ENV");
    command.env_remove("FSMASQ_LOG");
    let jobs = if below == Below::EachJob { prefix } else { Vec::new() };
    command.env("P", jobs.join(&OsString::from(" ")));
    command
}

/// Leads the same dialog three times, and compares what was read, and how the shell ended.
#[track_caller]
fn same_dialog(engine: Engine, words: &[&str], dialog: fn(&mut Terminal)) {
    let led = |below: Below| {
        let folder = stage().scratch("job-control");
        for name in ["gate", "report"] {
            nix::unistd::mkfifo(&folder.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let mut terminal = Terminal::start(shell(engine, below, words, &folder), Tie::Controlling);
        terminal.until(PROMPT);
        dialog(&mut terminal);
        terminal.send("exit 42\n");
        terminal.rest();
        let status = terminal.wait();
        format!("{}\n{status}", without_chance(terminal.transcript()))
    };
    let expected = led(Below::Nobody);
    assert!(expected.ends_with("exit status: 42"), "{expected}");
    for below in [Below::Shell, Below::EachJob] {
        assert_eq!(led(below), expected, "below the prefix: {below:?}");
    }
}

/// What differs from one run to the next: the id in `[1] 4711`, by which shells announce a job, and whether
/// bash has said already what `jobs` says again.
fn without_chance(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let job = line.rfind("] ").map(|at| line.split_at(at + 2));
        lines.push(match job {
            Some((number, id)) if !id.trim().is_empty() && id.trim().bytes().all(|b| b.is_ascii_digit()) => {
                format!("{number}ID")
            }
            _ => line.to_owned(),
        });
    }
    lines.dedup();
    lines.join("\n")
}

/// Types a line; what is answered before the shell asks for the next one.
#[track_caller]
fn line(terminal: &mut Terminal, text: &str) -> String {
    terminal.send(text);
    terminal.send("\n");
    terminal.until(PROMPT)
}

/// Starts the job that repeats what it reads, and lets it.
#[track_caller]
fn begin(terminal: &mut Terminal, job: &str) {
    terminal.send(job);
    terminal.send("\n");
    terminal.until("began\n");
    repeats(terminal);
}

#[track_caller]
fn repeats(terminal: &mut Terminal) {
    terminal.send("repeat this\n");
    terminal.until("repeat this\n");
}

/// The shell names the job before it hands the terminal over.
#[track_caller]
fn foreground(terminal: &mut Terminal) {
    terminal.send("fg\n");
    terminal.until("cat");
    repeats(terminal);
}

#[track_caller]
fn press(terminal: &mut Terminal, key: &str) {
    terminal.send(key);
    terminal.until(PROMPT);
}

/// Waits until the shell knows that its job has stopped, or has ended, and says what it knows.
const UNTIL_STOPPED: &str = "until jobs > seen; grep -q Stopped seen; do sleep 0.02; done; cat seen";
const UNTIL_GONE: &str =
    "until jobs > seen; ! grep -q -e Stopped -e Running seen; do sleep 0.02; done; cat seen";

fn keys(terminal: &mut Terminal) {
    line(terminal, "ulimit -c 0");
    for key in [CTRL_C, CTRL_BACKSLASH, CTRL_D] {
        begin(terminal, CAT);
        press(terminal, key);
        line(terminal, "echo \"status $?\"");
    }
    begin(terminal, CAT);
    for _ in 0..3 {
        press(terminal, CTRL_Z);
        line(terminal, "echo \"status $?\"");
        assert!(line(terminal, "jobs").contains("Stopped"));
        foreground(terminal);
    }
    press(terminal, CTRL_C);
    line(terminal, "echo \"status $?\"");
}

fn sent_to_the_background(terminal: &mut Terminal) {
    terminal.send("$P /bin/sh -c 'echo began; read word < gate; exit 7'\n");
    terminal.until("began\n");
    press(terminal, CTRL_Z);
    line(terminal, "bg");
    assert!(line(terminal, "jobs").contains("Running"));
    line(terminal, "echo go > gate; wait %1; echo \"status $?\"");
    line(terminal, "jobs");
}

fn background(terminal: &mut Terminal) {
    // Reading is for the foreground.
    terminal.send("$P /bin/cat & ");
    line(terminal, UNTIL_STOPPED);
    foreground(terminal);
    press(terminal, CTRL_Z);
    line(terminal, &format!("kill -KILL %1; {UNTIL_GONE}"));
    // Writing too, where the terminal is told so.
    line(terminal, "stty tostop");
    terminal.send("$P /bin/sh -c 'echo not yet; exit 3' & ");
    line(terminal, UNTIL_STOPPED);
    assert!(line(terminal, "fg; echo \"status $?\"").contains("not yet\n"));
    line(terminal, "stty -tostop");
    // A job that is told to end.
    line(terminal, "$P /bin/sh -c 'read word < gate; read word < report' &");
    line(terminal, &format!("echo go > gate; kill %1; {UNTIL_GONE}"));
    line(terminal, "jobs");
}

fn pipeline(terminal: &mut Terminal) {
    for job in [
        "$P /bin/sh -c 'echo began; exec cat' | /bin/cat",
        "/bin/sh -c 'echo began; exec cat' | $P /bin/cat | $P /bin/cat",
    ] {
        begin(terminal, job);
        press(terminal, CTRL_Z);
        line(terminal, "echo \"status $?\"");
        foreground(terminal);
        press(terminal, CTRL_C);
        line(terminal, "echo \"status $?\"");
    }
    line(terminal, "$P yes | head -n 2; echo \"status $?\"");
    line(terminal, "$P /bin/sh -c 'exit 5' | $P /bin/sh -c 'cat; exit 6'; echo \"status $?\"");
}

fn companions(terminal: &mut Terminal) {
    for job in [
        "$P timeout 0.1 sleep 60",
        "timeout 0.1 $P sleep 60",
        "timeout --foreground 0.1 $P sleep 60",
        "$P nohup sh -c 'exit 3'",
        "nohup $P /bin/sh -c 'exit 3'",
        "$P setsid -w sh -c 'true < /dev/tty; exit 4'",
        "setsid -w $P /bin/sh -c 'true < /dev/tty; exit 4'",
        "$P /bin/sh -c 'trap \"\" INT; kill -INT 0; exit 5'",
        "$P /bin/sh -c 'kill -TERM 0'",
    ] {
        line(terminal, &format!("{job}; echo \"status $?\""));
    }
}

fn size(terminal: &mut Terminal) {
    for (rows, columns) in [(33, 77), (44, 99)] {
        terminal.send(
            "$P /bin/sh -c 'trap \"stty size; exit 0\" WINCH; echo began; while :; do read word; done'\n",
        );
        terminal.until("began\n");
        terminal.resize(rows, columns);
        terminal.until(&format!("{rows} {columns}\n"));
        terminal.until(PROMPT);
        // The shell's own idea of it.
        line(terminal, "echo \"$LINES $COLUMNS\"");
    }
}

fn farewell(terminal: &mut Terminal) {
    // A stopped job is woken and told by the kernel, when the shell's end leaves its group an orphan; nobody has
    // the terminal open after that.
    begin(terminal, CAT);
    press(terminal, CTRL_Z);
    // The shell warns once.
    line(terminal, "exit 42");
}

fn jobs_of_a_bash_obey_the_keys(engine: Engine) {
    same_dialog(engine, BASH_WORDS, keys);
}

fn jobs_of_a_dash_obey_the_keys(engine: Engine) {
    same_dialog(engine, DASH_WORDS, keys);
}

fn jobs_of_a_busybox_obey_the_keys(engine: Engine) {
    same_dialog(engine, BUSYBOX_WORDS, keys);
}

fn jobs_of_a_bash_in_the_background_are_stopped_at_the_terminal(engine: Engine) {
    same_dialog(engine, BASH_WORDS, background);
}

fn jobs_of_a_dash_in_the_background_are_stopped_at_the_terminal(engine: Engine) {
    same_dialog(engine, DASH_WORDS, background);
}

fn jobs_of_a_busybox_in_the_background_are_stopped_at_the_terminal(engine: Engine) {
    same_dialog(engine, BUSYBOX_WORDS, background);
}

fn jobs_of_a_bash_go_on_in_the_background(engine: Engine) {
    same_dialog(engine, BASH_WORDS, sent_to_the_background);
}

fn jobs_of_a_bash_in_a_pipeline_obey_the_keys(engine: Engine) {
    same_dialog(engine, BASH_WORDS, pipeline);
}

fn jobs_of_a_dash_go_on_in_the_background(engine: Engine) {
    same_dialog(engine, DASH_WORDS, sent_to_the_background);
}

fn jobs_of_a_dash_in_a_pipeline_obey_the_keys(engine: Engine) {
    same_dialog(engine, DASH_WORDS, pipeline);
}

fn jobs_of_a_busybox_in_a_pipeline_obey_the_keys(engine: Engine) {
    same_dialog(engine, BUSYBOX_WORDS, pipeline);
}

fn jobs_of_a_bash_meet_timeout_nohup_and_setsid(engine: Engine) {
    same_dialog(engine, BASH_WORDS, companions);
}

fn jobs_of_a_dash_meet_timeout_nohup_and_setsid(engine: Engine) {
    same_dialog(engine, DASH_WORDS, companions);
}

fn jobs_of_a_bash_see_the_terminals_size_change(engine: Engine) {
    same_dialog(engine, BASH_WORDS, size);
}

fn jobs_of_a_bash_end_with_it(engine: Engine) {
    same_dialog(engine, BASH_WORDS, farewell);
}

fn jobs_of_a_dash_end_with_it(engine: Engine) {
    same_dialog(engine, DASH_WORDS, farewell);
}

fn a_login_shell_is_one(engine: Engine) {
    let words = ["bash", "--noprofile", "--norc", "--noediting", "-il"];
    same_dialog(engine, &words, |terminal| {
        line(terminal, "shopt -q login_shell && echo login; echo $-; tty | cut -c 1-9");
        line(terminal, "cut -d ' ' -f 5-6,8 /proc/$$/stat | tr ' ' '\\n' | uniq | wc -l");
    });
}

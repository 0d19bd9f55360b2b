//! Colours are for a person at a terminal who has not asked for none.

use crate::common::pty::{Terminal, Tie};
use crate::common::{Case, Engine, finish, once};
use std::process::Command;

pub fn cases() -> Vec<Case> {
    once!(&[];
        help_has_colours_at_a_terminal_only_and_not_with_no_color,
        log_lines_at_a_terminal_have_none,
    )
}

const ESCAPE: char = '\x1b';

fn help() -> Command {
    let mut command = Command::new(&Engine::Seccomp.prefix().words()[0]);
    command.arg("--help").env("TERM", "xterm");
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

fn at_a_terminal(command: Command) -> String {
    let mut terminal = Terminal::start(command, Tie::Controlling);
    let text = terminal.rest();
    assert!(terminal.wait().success(), "{text}");
    text
}

fn help_has_colours_at_a_terminal_only_and_not_with_no_color() {
    let shown = at_a_terminal(help());
    assert!(shown.contains("--print-profile") && shown.contains(ESCAPE), "{shown}");
    let mut plain = help();
    plain.env("NO_COLOR", "1");
    let shown = at_a_terminal(plain);
    assert!(shown.contains("--print-profile") && !shown.contains(ESCAPE), "{shown}");
    let piped = finish(&mut help()).text();
    assert!(piped.contains("--print-profile") && !piped.contains(ESCAPE), "{piped}");
}

fn log_lines_at_a_terminal_have_none() {
    let mut command = Engine::Seccomp.prefix().options(["-v"]).command("stat");
    command.args(["-f", "/dev/shm"]).env("TERM", "xterm").env_remove("NO_COLOR");
    let shown = at_a_terminal(command);
    assert!(shown.contains("rewritten") && !shown.contains(ESCAPE), "{shown}");
}

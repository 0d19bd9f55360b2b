//! Where the command lets go of its terminal and its pipes and goes on, nobody else holds them.

use crate::common::pty::{Terminal, Tie};
use crate::common::{Case, Engine, bare, both, stage};
use crate::terminals::gate_and_report;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

pub fn cases() -> Vec<Case> {
    both!(&[];
        a_terminal_that_the_command_lets_go_of_ends,
        all_outputs_that_the_command_closes_end_while_it_goes_on,
    )
}

fn a_terminal_that_the_command_lets_go_of_ends(engine: Engine) {
    let read = |mut command: Command| {
        let (gate, _) = gate_and_report();
        let script = "echo here; exec < /dev/null > /dev/null 2>&1; read word < \"$1\"; exit 4";
        command.args(["-c", script, "sh"]).arg(&gate);
        let mut terminal = Terminal::start(command, Tie::Descriptors);
        let text = terminal.rest();
        std::fs::write(&gate, "go\n").unwrap();
        (text, terminal.wait())
    };
    let expected = read(bare("sh"));
    assert_eq!((expected.0.as_str(), expected.1.code()), ("here\n", Some(4)));
    assert_eq!(read(engine.prefix().command("sh")), expected);
}
fn all_outputs_that_the_command_closes_end_while_it_goes_on(engine: Engine) {
    let script = "exec 2>&1; exec \"$@\"";
    for words in [vec![], engine.prefix().words()] {
        let mut command = bare("sh");
        let inner = "echo here; exec < /dev/null > /dev/null 2>&1; read word < \"$0\"; exit 4";
        command.args(["-c", script, "sh"]).args(words).args(["sh", "-c", inner]);
        let gate = stage().scratch("closed").join("gate");
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut child = command.arg(&gate).stdout(Stdio::piped()).spawn().unwrap();
        // Whoever keeps the pipe open lets this wait for longer than the harness does.
        let mut text = String::new();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 5]).unwrap();
        let ended = {
            let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(20_000u16)) == Ok(1)
        };
        std::fs::write(&gate, "go\n").unwrap();
        assert!(ended, "somebody keeps the pipe open");
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), child.wait().unwrap().code()), ("", Some(4)));
    }
}

//! Who reads what the command writes sees the end of it when it comes, whatever goes on.

use crate::common::run::bare_shell;
use crate::common::{Case, Engine, bare_guest, both, stage};
use crate::supervision::{assert_ends, pidfd};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub fn cases() -> Vec<Case> {
    both!(&[];
        an_output_that_the_command_closes_ends_while_it_goes_on,
        a_socket_as_output_ends_with_the_command,
    )
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// Starts a guest that closes its output and waits at a gate, and reads to the end of that output.
#[track_caller]
fn closes_and_goes_on(mut command: Command, gate: &Path) {
    nix::unistd::mkfifo(gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut child = command.arg(gate).stdout(Stdio::piped()).spawn().unwrap();
    let process = pidfd(pid(&child));
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "here\n");
    assert_eq!(child.try_wait().unwrap(), None, "it goes on");
    std::fs::write(gate, "go").unwrap();
    assert_ends(&process, "the command");
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

fn an_output_that_the_command_closes_ends_while_it_goes_on(engine: Engine) {
    for options in [vec![], vec!["-v"]] {
        for mut command in [bare_guest("keeps-on"), engine.prefix().options(options).guest("keeps-on")] {
            command.stderr(Stdio::null());
            closes_and_goes_on(command, &stage().scratch("closed").join("gate"));
        }
    }
}

fn a_socket_as_output_ends_with_the_command(engine: Engine) {
    let script = "sh -c 'read word < \"$0\"' \"$0\" < /dev/null > /dev/null 2>&1 & echo here; exit 4";
    for mut command in [bare_shell(script), engine.prefix().shell(script)] {
        let gate = stage().scratch("socket").join("gate");
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let output = || Stdio::from(OwnedFd::from(theirs.try_clone().unwrap()));
        let mut child = command.arg(&gate).stdout(output()).stderr(output()).spawn().unwrap();
        let process = pidfd(pid(&child));
        drop((command, theirs));
        let mut text = String::new();
        // Its end is waited for, while the other process is there.
        ours.read_to_string(&mut text).unwrap();
        assert_ends(&process, "the command");
        assert_eq!((text.as_str(), child.wait().unwrap().code()), ("here\n", Some(4)));
        std::fs::write(&gate, "go\n").unwrap();
    }
}

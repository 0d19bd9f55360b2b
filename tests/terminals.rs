//! A terminal is let go of as without the prefix, and the tracer is never at it.

use crate::common::needs::{Need, finds};
use crate::common::pty::{Terminal, Tie};
use crate::common::run::{bare_shell, tracer_of};
use crate::common::tables::lines_of_type;
use crate::common::{Case, Engine, bare_guest, both, stage};
use std::path::PathBuf;
use std::process::Command;

const NOHUP: Need = Need::new("nohup", || finds("nohup"));

pub fn cases() -> Vec<Case> {
    [
        both!(&[NOHUP]; a_cut_line_hangs_up_and_spares_who_asked_for_it),
        both!(&[];
            the_tracer_is_not_at_the_terminal,
            a_terminal_ends_with_the_command_while_survivors_are_served,
        ),
    ]
    .concat()
}

/// Two FIFOs, by which what is left behind is let go on, and reports.
pub fn gate_and_report() -> (PathBuf, PathBuf) {
    let folder = stage().scratch("terminal");
    let paths = (folder.join("gate"), folder.join("report"));
    for path in [&paths.0, &paths.1] {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    paths
}

/// Group, session, and terminal of a process: fields 5 to 7 of proc(5)'s stat.
fn place(pid: i32) -> [i32; 3] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(2).map(|field| field.parse().unwrap());
    fields.take(3).collect::<Vec<_>>().try_into().unwrap()
}

fn the_tracer_is_not_at_the_terminal(engine: Engine) {
    let mut terminal = Terminal::start(engine.prefix().guest("stop"), Tie::Controlling);
    terminal.until("ready ");
    let command = i32::try_from(terminal.pid()).unwrap();
    let tracer = tracer_of(terminal.pid()).unwrap();
    assert_eq!(terminal.foreground(), command);
    let [group, session, device] = place(command);
    assert!(group == command && session == command && device != 0);
    let [group, session, device] = place(tracer);
    assert!(group != command && session != command);
    assert_eq!(device, 0, "the tracer has a terminal");
    terminal.send("word\n");
    assert!(terminal.rest().ends_with("word\n"));
    assert!(terminal.wait().success());
}

fn a_cut_line_hangs_up_and_spares_who_asked_for_it(engine: Engine) {
    let survivor = "echo began >&3; exec 3>&-; read word < \"$1\"; stat -f -c %t /dev/shm > \"$2\"";
    let script = format!(
        "trap 'echo told > \"$2\"; trap - HUP; kill -HUP $$' HUP; \
         nohup sh -c '{survivor}' sh \"$1\" \"$2\" 3>&1 > /dev/null 2>&1 & while :; do read word; done"
    );
    let cut = |mut command: Command| {
        let (gate, report) = gate_and_report();
        command.arg("sh").arg(&gate).arg(&report);
        let mut terminal = Terminal::start(command, Tie::Controlling);
        terminal.until("began\n");
        terminal.hang_up();
        let told = std::fs::read_to_string(&report).unwrap();
        let status = terminal.wait();
        std::fs::write(&gate, "go\n").unwrap();
        (told, status, std::fs::read_to_string(&report).unwrap())
    };
    let expected = cut(bare_shell(&script));
    assert_eq!((expected.0.as_str(), expected.2.as_str()), ("told\n", "1021994\n"));
    let seen = cut(engine.prefix().shell(&script));
    assert_eq!((&seen.0, seen.1, seen.2.as_str()), (&expected.0, expected.1, "ef53\n"));
}

fn a_terminal_ends_with_the_command_while_survivors_are_served(engine: Engine) {
    let read = |mut command: Command, tie| {
        let (gate, report) = gate_and_report();
        command.arg(&gate).arg(&report).arg("/proc/self/mounts");
        let mut terminal = Terminal::start(command, tie);
        // The end of the terminal is waited for, while the other process is there.
        let text = terminal.rest();
        let status = terminal.wait();
        std::fs::write(&gate, "go").unwrap();
        (text, status, std::fs::read(&report).unwrap())
    };
    // Not as a session's leader: the hangup at its end may come before the other process has left the session.
    for tie in [Tie::Descriptors] {
        let (text, status, report) = read(bare_guest("survivor"), tie);
        assert!(text == "the command ends\n" && report.starts_with(b"0x1021994\n"));
        for options in [vec![], vec!["-v"]] {
            let (seen, end, report) = read(engine.prefix().options(options).guest("survivor"), tie);
            assert_eq!((seen, end), (text.clone(), status));
            assert!(report.starts_with(b"0xef53\n") && lines_of_type(&report, "tmpfs") == 0);
        }
    }
}

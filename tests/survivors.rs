//! What the command leaves behind, and who waits for it.

use crate::common::needs::{ROOT, UNSHARE};
use crate::common::run::{tracer_of, wait};
use crate::common::tables::lines_of_type;
use crate::common::{Case, Engine, bare_guest, both, finish, stage};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

pub fn cases() -> Vec<Case> {
    [
        both!(&[ROOT, UNSHARE]; without_proc_the_callers_pipes_end_with_the_command_as_well),
        both!(&[];
        a_process_that_outlives_the_command_is_served_and_holds_nothing_up,
        the_tracers_death_ends_all_tracees,
        the_tracer_is_nobodys_child_and_survives_signals_to_the_group,
            a_command_to_which_orphans_come_meets_no_child_that_it_did_not_make,
        ),
    ]
    .concat()
}

fn a_process_that_outlives_the_command_is_served_and_holds_nothing_up(engine: Engine) {
    for options in [vec![], vec!["-v"]] {
        let folder = stage().scratch("survivor");
        let (gate, report) = (folder.join("gate"), folder.join("report"));
        for fifo in [&gate, &report] {
            nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let mut command = engine.prefix().options(options).guest("survivor");
        command.arg(&gate).arg(&report).arg("/proc/self/mountinfo");
        // The end of both pipes is waited for, while the other process is there.
        let done = finish(&mut command);
        assert_eq!((done.status.code(), done.text().as_str()), (Some(3), "the command ends\n"));
        std::fs::write(&gate, "go").unwrap();
        let text = std::fs::read(&report).unwrap();
        assert!(text.starts_with(b"0xef53\n"), "{}", String::from_utf8_lossy(&text[..10]));
        assert!(lines_of_type(&text, "ext4") > 0 && lines_of_type(&text, "tmpfs") == 0);
    }
}

/// The caller's pipe is known to the launcher by one more number, which it can't look up.
fn without_proc_the_callers_pipes_end_with_the_command_as_well(engine: Engine) {
    let folder = stage().scratch("survivor");
    let (gate, report) = (folder.join("gate"), folder.join("report"));
    for fifo in [&gate, &report] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let script = "{ read line < \"$1\"; stat -f -c %t /dev/shm > \"$2\"; } 9>&- < /dev/null > /dev/null 2>&1 & \
                  echo the command ends";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "umount -l /proc && exec \"$@\" 9>&1", "sh"]);
    command.args(engine.prefix().words()).args(["sh", "-c", script, "sh"]).arg(&gate).arg(&report);
    // The end of the pipes is waited for, while the other process is there.
    let done = finish(&mut command).success();
    assert_eq!(done.text(), "the command ends\n");
    std::fs::write(&gate, "go\n").unwrap();
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "ef53\n");
}

fn a_command_to_which_orphans_come_meets_no_child_that_it_did_not_make(engine: Engine) {
    let waiting = |mut command: Command, is_subreaper: bool| {
        // SAFETY: prctl is allowed after a fork.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_child_subreaper(is_subreaper)?;
                Ok(())
            })
        };
        finish(&mut command).quiet_success().text()
    };
    for is_subreaper in [false, true] {
        let expected = waiting(bare_guest("wait-for-any"), is_subreaper);
        assert_eq!(expected, "wait4 with 1: Err(10)\nwait4 with 0: Err(10)\n");
        assert_eq!(waiting(engine.prefix().guest("wait-for-any"), is_subreaper), expected);
    }
}

fn the_tracers_death_ends_all_tracees(engine: Engine) {
    let mut command = engine.prefix().guest("stop");
    let (child, _stdin) = crate::group_stop::started(&mut command);
    let tracer = tracer_of(child.id()).unwrap();
    // SAFETY: no pointers; the tracer of our own child.
    unsafe { libc::kill(tracer, libc::SIGKILL) };
    assert_eq!(wait(child, "a command without its tracer").status.signal(), Some(libc::SIGKILL));
}

fn the_tracer_is_nobodys_child_and_survives_signals_to_the_group(engine: Engine) {
    let mut command = engine.prefix().guest("stop");
    let (child, mut stdin) = crate::group_stop::started(&mut command);
    let tracer = tracer_of(child.id()).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{tracer}/stat")).unwrap();
    let fields: Vec<i32> =
        stat.rsplit_once(')').unwrap().1.split(' ').skip(2).take(3).map(|f| f.parse().unwrap()).collect();
    let [parent, group, session] = fields[..] else { panic!("{stat}") };
    assert_ne!(parent, i32::try_from(child.id()).unwrap(), "not the command's child");
    // Who looks for the command finds one process.
    let called = std::fs::read_to_string(format!("/proc/{tracer}/cmdline")).unwrap();
    assert_eq!(called.trim_end_matches('\0'), format!("fsmasq: tracer of {}", child.id()));
    // SAFETY: no preconditions.
    let (own_group, own_session) = unsafe { (libc::getpgrp(), libc::getsid(0)) };
    assert!(group != own_group && session != own_session, "{stat}");
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE, libc::SIGUSR1] {
        // SAFETY: as above.
        unsafe { libc::kill(tracer, signal) };
    }
    std::io::Write::write_all(&mut stdin, b"still here\n").unwrap();
    let done = wait(child, "a guest");
    assert_eq!((done.text().as_str(), done.status.code()), ("still here\n", Some(0)));
}

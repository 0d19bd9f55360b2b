//! What is said, and where.

use crate::common::run::wait;
use crate::common::{Case, Engine, both, finish, stage};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;

pub fn cases() -> Vec<Case> {
    both!(&[];
        nothing_is_said_without_being_asked,
        each_rewritten_call_is_one_line,
        json_lines_parse_and_have_every_field,
        a_log_file_takes_all_and_is_appended_to,
        the_summary_counts_right,
        rust_log_decides,
        tasks_that_come_and_go_are_said_at_the_second_level,
        a_full_pipe_does_not_stall_the_program,
    )
}

fn rewriting(prefix: &crate::common::Prefix) -> std::process::Command {
    let mut command = prefix.guest("statfs-often");
    command.arg("7").arg(stage().quiet());
    command
}

fn nothing_is_said_without_being_asked(engine: Engine) {
    assert_eq!(finish(&mut rewriting(&engine.prefix())).quiet_success().text(), "{ef53: 7}\n");
}

fn each_rewritten_call_is_one_line(engine: Engine) {
    for option in ["-v", "--debug", "--verbose"] {
        let done = finish(&mut rewriting(&engine.prefix().options([option]))).success();
        let errors = done.errors();
        assert_eq!(errors.lines().count(), 7, "{errors}");
        let quiet = stage().quiet();
        for line in errors.lines() {
            for part in
                ["rewritten", "pid=", "tid=", "guest", "statfs", quiet.to_str().unwrap(), "tmpfs", "ext4"]
            {
                assert!(line.contains(part), "no {part} in {line}");
            }
        }
    }
    let table = finish(engine.prefix().options(["-v"]).guest("table").args(["openat", "/proc/self/mounts"]));
    assert_eq!(table.errors().matches("object=\"/proc/self/mounts\"").count(), 1, "{}", table.errors());
}

fn json_lines_parse_and_have_every_field(engine: Engine) {
    let prefix = engine.prefix().options(["-v", "--log-format", "json"]);
    let mut command = rewriting(&prefix);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = u64::from(child.id());
    let errors = wait(child, "a guest").errors();
    assert_eq!(errors.lines().count(), 7, "{errors}");
    for line in errors.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["pid"], pid);
        assert_eq!(value["tid"], pid);
        assert_eq!(value["program"], "guest");
        assert_eq!(value["call"], "statfs");
        assert_eq!(value["object"], stage().quiet().to_str().unwrap());
        assert_eq!((&value["was"], &value["is"]), (&"tmpfs".into(), &"ext4".into()));
        assert!(value["timestamp"].is_string());
    }
}

fn a_log_file_takes_all_and_is_appended_to(engine: Engine) {
    let file = stage().scratch("log").join("log");
    let prefix = engine.prefix().options(["-v", "--log-file", file.to_str().unwrap()]);
    for round in 1..=2 {
        finish(&mut rewriting(&prefix)).quiet_success();
        // The tracer's last line is written before the command's last call ends.
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 7 * round);
    }
}

fn the_summary_counts_right(engine: Engine) {
    let quiet = stage().quiet();
    let script = format!(
        "'{guest}' --guest statfs-often 12 '{quiet}'; '{guest}' --guest table-often 3 /proc/self/mounts > /dev/null; \
         '{guest}' --guest statfs-often 5 '{quiet}'",
        guest = stage().guest.display(),
        quiet = quiet.display()
    );
    let done = finish(&mut engine.prefix().options(["--summary"]).shell(&script)).success();
    let errors = done.errors();
    let count = |call: &str| {
        errors.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.len() == 3 && words[..2] == ["guest", call]).then(|| words[2].parse::<u32>().unwrap())
        })
    };
    assert_eq!((count("statfs"), count("openat")), (Some(17), Some(3)), "{errors}");
    assert!(errors.contains(" stops, ") && errors.contains("CPU time"), "{errors}");
    let none = finish(&mut engine.prefix().options(["--summary"]).command("true")).success();
    assert!(none.errors().contains("none"), "{}", none.errors());
    let file = stage().scratch("summary").join("log");
    finish(&mut rewriting(&engine.prefix().options(["--summary", "--log-file", file.to_str().unwrap()])))
        .quiet_success();
    assert!(std::fs::read_to_string(&file).unwrap().contains("statfs"));
}

fn rust_log_decides(engine: Engine) {
    let lines = |options: &[&str], value: &str| {
        let mut command = rewriting(&engine.prefix().options(options.iter().copied()));
        finish(command.env("RUST_LOG", value)).success().errors().lines().count()
    };
    assert_eq!(lines(&[], "debug"), 7);
    assert_eq!(lines(&["-v"], "off"), 0);
}

fn tasks_that_come_and_go_are_said_at_the_second_level(engine: Engine) {
    let done = finish(&mut engine.prefix().options(["-vv"]).shell("sh -c 'exit 3'; true")).success();
    let errors = done.errors();
    for part in ["new task", "executed", "exited", "code=3"] {
        assert!(errors.contains(part), "no {part} in {errors}");
    }
}

fn a_full_pipe_does_not_stall_the_program(engine: Engine) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    fill(&writer);
    let mut command = engine.prefix().options(["-v"]).guest("statfs-often");
    command.arg("2000").arg(stage().quiet()).stdout(Stdio::piped()).stderr(writer);
    let child = command.spawn().unwrap();
    let done = wait(child, "a guest with a full stderr").success();
    assert_eq!(done.text(), "{ef53: 7d0}\n");
    drop(reader);
}

/// Writes until the pipe takes no more.
fn fill(pipe: &OwnedFd) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    for size in [4096, 1] {
        while nix::unistd::write(pipe, &vec![b'x'; size]).is_ok() {}
    }
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let _ = pipe.as_raw_fd();
}

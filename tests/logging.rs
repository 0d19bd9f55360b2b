//! What is said, and where.

use crate::common::needs::{ROOT, UNSHARE};
use crate::common::run::{tracer_of, wait};
use crate::common::{Case, Engine, both, finish, stage};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

pub fn cases() -> Vec<Case> {
    [
        both!(&[ROOT, UNSHARE]; without_proc_a_nearly_full_pipe_does_not_stall_the_program_either),
        both!(&[];
        nothing_is_said_without_being_asked,
        each_rewritten_call_is_one_line,
        json_lines_parse_and_have_every_field,
        a_log_file_takes_all_and_is_appended_to,
        the_summary_counts_right,
        a_variable_of_its_own_decides,
        names_of_programs_forge_no_lines,
        a_program_that_takes_its_memory_away_is_no_news,
        tasks_that_come_and_go_are_said_at_the_second_level,
        a_full_pipe_does_not_stall_the_program,
            a_nearly_full_pipe_does_not_stall_the_program_by_a_long_line,
            a_terminal_that_nobody_reads_does_not_stall_the_program,
            a_pipe_is_held_by_its_name_and_the_commands_mode_of_it_stays,
            a_log_file_of_json_ends_with_the_summary,
        ),
    ]
    .concat()
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

fn a_variable_of_its_own_decides(engine: Engine) {
    let lines = |options: &[&str], variable: &str, value: &str| {
        let mut command = rewriting(&engine.prefix().options(options.iter().copied()));
        finish(command.env(variable, value)).success().errors().lines().count()
    };
    assert_eq!(lines(&[], "FSMASQ_LOG", "debug"), 7);
    assert_eq!(lines(&["-v"], "FSMASQ_LOG", "off"), 0);
    assert_eq!(lines(&["-v"], "FSMASQ_LOG", ""), 7);
    // This one is meant for the command, where that is written in Rust.
    assert_eq!(lines(&[], "RUST_LOG", "debug"), 0);
    assert_eq!(lines(&["-v"], "RUST_LOG", "off"), 7);
}

fn names_of_programs_forge_no_lines(engine: Engine) {
    let program = stage().scratch("names").join("x\nERROR forged\x1b[31m");
    symlink(&stage().guest, &program).unwrap();
    for (format, name) in [("text", "x\\nERROR forged\\u{1b}"), ("json", "x\\nERROR forged\\u001b")] {
        let prefix = engine.prefix().options(["-vv", "--summary", "--log-format", format]);
        let mut command = prefix.command(&program);
        let errors =
            finish(command.args(["--guest", "statfs-often", "7"]).arg(stage().quiet())).success().errors();
        assert!(!errors.contains('\x1b') && !errors.contains("\nERROR"), "{errors}");
        let naming = |what: &str| errors.lines().filter(|l| l.contains(name) && l.contains(what)).count();
        assert_eq!((naming("rewritten") >= 7, naming("executed")), (true, 1), "{errors}");
    }
}

fn a_program_that_takes_its_memory_away_is_no_news(engine: Engine) {
    finish(engine.prefix().guest("moving-buffer").arg("/dev/shm")).quiet_success();
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

/// As long as a path may be, so that its line is longer than what a pipe takes in one piece.
fn long_path() -> String {
    let quiet = stage().quiet().display().to_string();
    let rest = (4090 - quiet.len()) / 2;
    quiet + &"/.".repeat(rest)
}

/// The write end of a pipe that has room for PIPE_BUF bytes and no more; and its read end.
fn nearly_full() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    fill(&writer);
    assert_eq!(nix::unistd::read(&reader, &mut [0; libc::PIPE_BUF]).unwrap(), libc::PIPE_BUF);
    (reader, writer)
}

/// Runs a command whose calls have long lines, with a stderr that nobody reads.
fn ends_all_the_same(mut command: Command, stderr: OwnedFd) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let child = command.spawn().unwrap();
    let done = wait(child, "a guest with a stderr that nobody reads").success();
    assert_eq!(done.text(), "{ef53: 64}\n");
}

fn a_nearly_full_pipe_does_not_stall_the_program_by_a_long_line(engine: Engine) {
    let prefix = engine.prefix().options(["-v"]);
    for format in ["text", "json"] {
        let (_reader, writer) = nearly_full();
        let mut command = prefix.clone().options(["--log-format", format]).guest("statfs-often");
        command.arg("100").arg(long_path());
        ends_all_the_same(command, writer);
    }
    // A log file may be a pipe, too.
    let fifo = stage().scratch("log").join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let both_ends = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap().into();
    fill(&both_ends);
    assert_eq!(nix::unistd::read(&both_ends, &mut [0; libc::PIPE_BUF]).unwrap(), libc::PIPE_BUF);
    let mut command = prefix.options(["--log-file", fifo.to_str().unwrap()]).guest("statfs-often");
    command.arg("100").arg(long_path());
    ends_all_the_same(command, std::fs::File::create("/dev/null").unwrap().into());
}

fn without_proc_a_nearly_full_pipe_does_not_stall_the_program_either(engine: Engine) {
    // A warning comes first: one more page.
    let (reader, writer) = nearly_full();
    assert_eq!(nix::unistd::read(&reader, &mut [0; libc::PIPE_BUF]).unwrap(), libc::PIPE_BUF);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "umount -l /proc && exec \"$@\"", "sh"]);
    command.args(engine.prefix().options(["-v"]).words()).arg(&stage().guest);
    command.args(["--guest", "statfs-often", "100"]).arg(long_path());
    ends_all_the_same(command, writer);
}

fn a_terminal_that_nobody_reads_does_not_stall_the_program(engine: Engine) {
    let (mut master, mut terminal) = (-1, -1);
    // SAFETY: both numbers are written; the rest may be null.
    let result = unsafe {
        let null = std::ptr::null_mut();
        libc::openpty(&raw mut master, &raw mut terminal, null, null.cast(), null.cast())
    };
    assert_eq!(result, 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given them to us.
    let (_master, terminal) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(terminal)) };
    let mut command = engine.prefix().options(["-v"]).guest("statfs-often");
    command.arg("100").arg(long_path());
    ends_all_the_same(command, terminal);
}

fn a_pipe_is_held_by_its_name_and_the_commands_mode_of_it_stays(engine: Engine) {
    let mut command = engine.prefix().options(["-v"]).guest("stop");
    command.stderr(Stdio::piped());
    let (child, mut stdin) = crate::group_stop::started(&mut command);
    let flags = |pid: i32| {
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/2")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
        i32::from_str_radix(&flags, 8).unwrap()
    };
    assert_eq!(flags(i32::try_from(child.id()).unwrap()) & (libc::O_NONBLOCK | libc::O_PATH), 0);
    assert_eq!(flags(tracer_of(child.id()).unwrap()) & libc::O_PATH, libc::O_PATH);
    std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
    wait(child, "a guest").success();
}

fn a_log_file_of_json_ends_with_the_summary(engine: Engine) {
    let file = stage().scratch("summary").join("log");
    let prefix = engine.prefix().options(["--log-format", "json", "--summary"]);
    for (verbose, lines) in [(None, 1), (Some("-v"), 8)] {
        let prefix = prefix.clone().options(verbose).options(["--log-file", file.to_str().unwrap()]);
        let _ = std::fs::remove_file(&file);
        finish(&mut rewriting(&prefix)).quiet_success();
        let text = std::fs::read_to_string(&file).unwrap();
        let objects: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(objects.len() == lines && objects.iter().all(serde_json::Value::is_object), "{text}");
        let (last, others) = objects.split_last().unwrap();
        assert!(others.iter().all(|object| object["message"] == "rewritten"), "{text}");
        assert_eq!(last["message"], "summary");
        assert_eq!(last["rewritten"], serde_json::json!({"guest": {"statfs": 7}}));
        assert!(last["stops"].as_u64().unwrap() >= 7 && last["tracer_cpu_seconds"].is_f64(), "{last}");
    }
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

//! Tracing below the prefix: a task has one tracer, so whom another one may trace is let go.

use crate::common::needs::{Need, PYTHON, ROOT, SETPRIV, STRACE, finds};
use crate::common::sandbox::Sandbox;
use crate::common::{Case, Engine, bare, bare_guest, both, finish, stage};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const GDB: Need = Need::new("gdb", || finds("gdb"));
const LEAK_SANITIZER: Need = Need::new("a C compiler with a leak sanitizer", || leaking().is_some());

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            a_child_that_asks_to_be_traced_is,
            a_process_that_another_traces_goes_on_as_ever,
            a_process_that_is_stopped_stays_so_while_another_traces_it,
            a_signal_that_comes_meanwhile_ends_the_wait_for_it,
            an_open_that_waits_holds_up_no_tracer,
            programs_that_are_to_be_left_alone_are,
            a_script_is_left_alone_by_its_name,
            the_command_itself_can_be_left_alone,
        ),
        both!(&[STRACE]; strace_sees_what_it_sees_bare, strace_follows_what_the_program_starts),
        both!(&[GDB]; gdb_runs_a_program, gdb_stops_at_a_crash),
        both!(&[GDB, PYTHON]; gdb_attaches_to_all_threads),
        both!(&[LEAK_SANITIZER]; a_leak_sanitizer_finds_what_it_finds_bare),
        both!(&[ROOT, SETPRIV]; what_may_not_be_traced_is_refused_and_stays_masked),
        gvisor(),
    ]
    .concat()
}

fn a_child_that_asks_to_be_traced_is(engine: Engine) {
    let guest = |mut command: Command| finish(command.arg("/bin/sh")).quiet_success().text();
    let expected = guest(bare_guest("trace-child"));
    assert!(expected.contains("stopped by SIGTRAP\nkilled by SIGKILL\n"), "{expected}");
    assert_eq!(guest(engine.prefix().guest("trace-child")), expected);
}

/// A program that waits for a line, and another that attaches to it: both below one prefix, then a look at the file
/// system by who was traced.
fn attached(engine: Engine, by: &str, first: &str) -> String {
    let script = "
        { read line; stat -f -c %t /dev/shm; exit 5; } < \"$0/gate\" & traced=$!
        exec 9> \"$0/gate\"
        eval \"$2\"
        \"$1\" --guest trace $traced $3
        eval \"$4\"
        echo on >&9
        wait $traced; echo ended $?; stat -f -c %t /dev/shm";
    let folder = stage().scratch("attached");
    nix::unistd::mkfifo(&folder.join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let then = if first.is_empty() { "" } else { "grep State /proc/$traced/status; kill -CONT $traced" };
    let mut command = engine.prefix().command("bash");
    command.args(["-c", script]).arg(folder).arg(&stage().guest).args([first, by, then]);
    finish(&mut command).quiet_success().text()
}

fn a_process_that_another_traces_goes_on_as_ever(engine: Engine) {
    // Who was traced sees the file system as it is from then on; others don't.
    let end = "1021994\nended 5\nef53\n";
    assert_eq!(attached(engine, "attach", ""), format!("Ok(())\nstopped by SIGSTOP\n{end}"));
    assert_eq!(attached(engine, "seize", ""), format!("Ok(())\nevent 128 with SIGTRAP\n{end}"));
}

fn a_process_that_is_stopped_stays_so_while_another_traces_it(engine: Engine) {
    let stop = "kill -STOP $traced; until grep -q 'State:.[tT]' /proc/$traced/status; do :; done";
    let seen = attached(engine, "seize", stop);
    let expected = "Ok(())\nevent 128 with SIGSTOP\nState:\tT (stopped)\n1021994\nended 5\nef53\n";
    assert_eq!(seen, expected);
}

fn a_signal_that_comes_meanwhile_ends_the_wait_for_it(engine: Engine) {
    let done = finish(engine.prefix().guest("trace-while-signals-come").arg("200")).quiet_success();
    assert_eq!(done.text(), "200 waits ended\n");
}

fn an_open_that_waits_holds_up_no_tracer(engine: Engine) {
    // By its name it may be a table, so that the tracer waits for what becomes of it.
    let script = "cat \"$0/mounts\" & traced=$!
        until grep -q cat /proc/$traced/comm && grep -qE '^(2|257) ' /proc/$traced/syscall; do :; done
        \"$1\" --guest trace $traced seize; echo through > \"$0/mounts\"; wait $traced; echo ended $?";
    let folder = stage().scratch("waiting");
    nix::unistd::mkfifo(&folder.join("mounts"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut command = engine.prefix().command("bash");
    let done = finish(command.args(["-c", script]).arg(folder).arg(&stage().guest)).quiet_success();
    assert_eq!(done.text(), "Ok(())\nevent 128 with SIGTRAP\nthrough\nended 0\n");
}

const TYPES: &str = "stat -f -c %t /dev/shm; env stat -f -c %t /dev/shm; stat -f -c %t /dev/shm; \
                     grep -c '^TracerPid:.0$' /proc/self/status; true";

fn programs_that_are_to_be_left_alone_are(engine: Engine) {
    let env = finish(bare("sh").args(["-c", "readlink -f \"$(command -v env)\""])).success().text();
    for program in ["env", env.trim()] {
        let prefix = engine.prefix().options(["--untraced", program]);
        // And what it starts.
        assert_eq!(finish(&mut prefix.shell(TYPES)).quiet_success().text(), "ef53\n1021994\nef53\n0\n");
    }
    let prefix = engine.prefix().options(["--untraced", "/nowhere/env", "--untraced", "other"]);
    assert_eq!(finish(&mut prefix.shell(TYPES)).quiet_success().text(), "ef53\nef53\nef53\n0\n");
}

fn a_script_is_left_alone_by_its_name(engine: Engine) {
    let folder = stage().scratch("script");
    let script = folder.join("left-alone-with-a-long-name");
    std::fs::write(&script, "#!/bin/sh\nstat -f -c %t /dev/shm\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let prefix = engine.prefix().options(["--untraced", "left-alone-with-a-long-name"]);
    let mut command = prefix.shell("\"$0\"; stat -f -c %t /dev/shm");
    assert_eq!(finish(command.arg(script)).quiet_success().text(), "1021994\nef53\n");
}

fn the_command_itself_can_be_left_alone(engine: Engine) {
    let mut command = engine.prefix().options(["--untraced", "sh"]).shell("stat -f -c %t /dev/shm; exit 4");
    let done = finish(&mut command);
    assert_eq!(
        (done.text().as_str(), done.errors().as_str(), done.status.code()),
        ("1021994\n", "", Some(4))
    );
}

/// The calls that strace counts, without those whose number depends on what a mapping costs.
fn counted(mut command: Command) -> Vec<String> {
    let done =
        finish(command.args(["-f", "-c", "-U", "name,calls", "--", "sh", "-c", "cat /proc/self/comm"]));
    assert_eq!(done.text(), "cat\n", "{}", done.errors());
    let calls = ["openat", "execve", "read", "close", "exit_group", "rt_sigaction"];
    let mut counts: Vec<String> = done
        .errors()
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| calls.iter().any(|call| line.starts_with(&format!("{call} "))))
        .collect();
    // They are sorted by time.
    counts.sort();
    counts
}

fn strace_sees_what_it_sees_bare(engine: Engine) {
    let expected = counted(bare("strace"));
    assert!(expected.len() > 3, "{expected:?}");
    assert_eq!(counted(engine.prefix().command("strace")), expected);
}

fn strace_follows_what_the_program_starts(engine: Engine) {
    let log = stage().scratch("strace").join("log");
    let mut command = engine.prefix().command("strace");
    command.args(["-f", "-e", "trace=statfs", "-o"]).arg(&log);
    command.args(["sh", "-c", "stat -f -c %t /dev/shm; (stat -f -c %t /dev/shm); exit 6"]);
    let done = finish(&mut command);
    assert_eq!(
        (done.text().as_str(), done.status.code()),
        ("1021994\n1021994\n", Some(6)),
        "{}",
        done.errors()
    );
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("statfs(\"/dev/shm\", {f_type=TMPFS_MAGIC").count(), 2, "{log}");
}

fn gdb_runs_a_program(engine: Engine) {
    let mut command = engine.prefix().command("gdb");
    command.args(["-nx", "-batch", "-ex", "run", "--args", "stat", "-f", "-c", "%t", "/dev/shm"]);
    let text = finish(&mut command).success().text();
    assert!(text.contains("\n1021994\n") && text.contains("exited normally"), "{text}");
}

fn gdb_stops_at_a_crash(engine: Engine) {
    let mut command = engine.prefix().command("gdb");
    command.args(["-nx", "-batch", "-ex", "run", "-ex", "bt 1", "--args"]);
    command.arg(&stage().guest).args(["--guest", "crash"]);
    let text = finish(&mut command).success().text();
    assert!(text.contains("SIGSEGV") && text.contains("#0 "), "{text}");
}

fn gdb_attaches_to_all_threads(engine: Engine) {
    let python = "import sys, threading\n\
                  gate = threading.Event()\n\
                  threads = [threading.Thread(target=gate.wait) for _ in range(20)]\n\
                  [thread.start() for thread in threads]\n\
                  print('ready', flush=True)\n\
                  sys.stdin.readline(); gate.set()\n\
                  [thread.join() for thread in threads]\n\
                  print('through')";
    let script = "coproc python3 -c \"$0\"; read line <&${COPROC[0]}; \
                  gdb -nx -batch -p $COPROC_PID -ex 'info threads' 2> /dev/null | grep -c '^[* ] [0-9]'; \
                  echo >&${COPROC[1]}; read line <&${COPROC[0]}; echo $line";
    let mut command = engine.prefix().command("bash");
    assert_eq!(finish(command.args(["-c", script, python])).success().text(), "21\nthrough\n");
}

/// A program that loses memory, and whose sanitizer traces all its threads at the end to find that out.
fn leaking() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        let folder = stage().scratch("leaking");
        let (source, program) = (folder.join("leaking.c"), folder.join("leaking"));
        let text =
            "#include <stdlib.h>\nint main(void) { void *volatile p = malloc(100); p = 0; return 0; }\n";
        std::fs::write(&source, text).unwrap();
        let built =
            Command::new("cc").arg("-fsanitize=address").arg(&source).arg("-o").arg(&program).output();
        built.is_ok_and(|output| output.status.success()).then_some(program)
    };
    PROGRAM.get_or_init(make).clone()
}

fn a_leak_sanitizer_finds_what_it_finds_bare(engine: Engine) {
    let found = |mut command: Command| {
        let done = finish(&mut command);
        let summary = "SUMMARY: AddressSanitizer: 100 byte(s) leaked in 1 allocation(s).";
        assert!(done.errors().contains(summary), "{}", done.errors());
        done.status.code()
    };
    let program = leaking().unwrap();
    assert_eq!(found(engine.prefix().command(&program)), found(bare(&program)));
}

/// Whoever could unmask others by trying to trace them would do more than natively.
fn what_may_not_be_traced_is_refused_and_stays_masked(engine: Engine) {
    let program = stage().scratch("nobody").join("guest");
    std::fs::copy(&stage().guest, &program).unwrap();
    let script = "
        { read line; stat -f -c %t /dev/shm; } < \"$0/gate\" & traced=$!
        exec 9> \"$0/gate\"
        for way in attach seize; do
            setpriv --reuid=65534 --regid=65534 --clear-groups \"$1\" --guest trace $traced $way
        done
        \"$1\" --guest trace $$ seize > \"$0/parent\"
        \"$1\" --guest trace 999999999 seize
        echo on >&9; wait $traced";
    let folder = stage().scratch("refused");
    nix::unistd::mkfifo(&folder.join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut command = engine.prefix().command("bash");
    let done = finish(command.args(["-c", script]).arg(folder).arg(program)).quiet_success();
    assert_eq!(done.text(), "Err(EPERM)\nErr(EPERM)\nErr(ESRCH)\nef53\n");
}

/// There, seccomp has no notifications: what can't be had is said, with the option that helps.
fn gvisor() -> Vec<Case> {
    let mut cases = Vec::new();
    for sandbox in Sandbox::ALL {
        let name = format!("other_tracers: in gVisor it takes the slow engine [{}]", sandbox.name());
        cases.push(Case::made(name, sandbox.needs(), move || in_gvisor(sandbox)));
    }
    cases
}

fn in_gvisor(sandbox: Sandbox) {
    let [bare, below] = sandbox.bare_and_masked(Engine::AllStops, "trace-child", "/bin/sh");
    assert_eq!((below.text(), below.errors()), (bare.text(), String::new()));
    let [_, refused] = sandbox.bare_and_masked(Engine::Seccomp, "trace-child", "/bin/sh");
    assert!(refused.errors().contains("--no-seccomp"), "{}", refused.errors());
}

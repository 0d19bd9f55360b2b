//! What `--doctor` says, on this machine and in each sandbox, and that it leaves nothing behind.

use crate::common::needs::{ROOT, SETPRIV, UNSHARE};
use crate::common::pty::{Terminal, Tie};
use crate::common::sandbox::Sandbox;
use crate::common::{Case, Done, Engine, finish, once, stage};
use serde_json::Value;
use std::process::Command;

pub fn cases() -> Vec<Case> {
    let mut cases = [
        once!(&[];
            the_report_is_whole_and_the_exit_status_is_its_conclusion,
            a_table_fits_a_terminal_and_has_colours_only_there,
            it_takes_no_command_and_says_where_it_can_not_write,
            below_the_prefix_it_says_to_leave_that_out,
        ),
        once!(&[ROOT, SETPRIV]; who_is_not_root_is_told_what_only_root_can_try),
        once!(&[ROOT, UNSHARE];
            a_type_that_the_kubelet_does_not_know_gets_an_option,
            without_proc_it_says_to_mount_one,
            nothing_is_left_behind,
        ),
    ]
    .concat();
    for sandbox in Sandbox::ALL {
        let mut add = |name: &str, body: fn(Sandbox)| {
            let name = format!("doctor: {name} [{}]", sandbox.name());
            cases.push(Case::made(name, sandbox.needs(), move || body(sandbox)));
        };
        add("what the profile supplies is not left to the user", what_the_profile_supplies);
        add("only the mounts in scope are taken care of", scope);
        add("what containers are made of is tried", containers);
        add("nothing is left behind in a sandbox", nothing_is_left_in_a_sandbox);
    }
    cases
}

/// What the doctor found.
struct Report {
    value: Value,
    status: i32,
}

impl Report {
    #[track_caller]
    fn of(done: &Done) -> Report {
        assert_eq!(done.errors(), "");
        let value = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", done.text()));
        Report { value, status: done.status.code().unwrap() }
    }

    #[track_caller]
    fn here(options: &[&str]) -> Report {
        Report::of(&finish(launcher().args(options).arg("--doctor=json")))
    }

    #[track_caller]
    fn inside(sandbox: Sandbox, options: &[&str]) -> Report {
        Report::of(&sandbox.run(&[&["fsmasq", "--doctor=json"], options].concat()).0)
    }

    fn findings(&self) -> &[Value] {
        self.value["findings"].as_array().unwrap()
    }

    #[track_caller]
    fn finding(&self, what: &str) -> &Value {
        let found = self.findings().iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("nothing of {what} in {:#}", self.value))
    }

    #[track_caller]
    fn assert(&self, what: &str, verdict: &str, remedy: Option<&str>) {
        let finding = self.finding(what);
        assert_eq!(
            (&finding["verdict"], finding["remedy"].as_str()),
            (&Value::from(verdict), remedy),
            "{finding:#}"
        );
    }

    fn command(&self) -> &str {
        self.value["command"].as_str().unwrap()
    }
}

fn launcher() -> Command {
    let mut command = Command::new(&stage().launcher);
    command.env("RUST_BACKTRACE", "0");
    command
}

/// A shell's script in a mount and a network namespace of its own, where `fsmasq` is the launcher.
fn apart(script: &str) -> Done {
    let mut command = Command::new("unshare");
    let path = stage().launcher.parent().unwrap().display().to_string();
    let path = format!("{path}:{}", std::env::var("PATH").unwrap_or_default());
    finish(command.args(["-mn", "sh", "-c", script]).env("PATH", path))
}

fn the_report_is_whole_and_the_exit_status_is_its_conclusion() {
    let report = Report::here(&[]);
    for finding in report.findings() {
        let verdict = finding["verdict"].as_str().unwrap();
        assert!(["fine", "fsmasq", "to do", "unknown"].contains(&verdict), "{finding}");
        assert_eq!(finding["remedy"].is_string(), verdict == "to do", "{finding}");
        for field in ["area", "what", "seen", "why"] {
            assert!(!finding[field].as_str().unwrap().is_empty(), "{field} of {finding}");
        }
    }
    let blocked = report.findings().iter().any(|finding| finding["blocks"] == true);
    assert_eq!(report.value["can_run"], !blocked);
    assert_eq!(report.status, i32::from(blocked));
    assert!(report.command().contains("k3s server"), "{}", report.command());
    report.assert("ptrace", "fine", None);
    report.assert("other processes' memory", "fine", None);
    // Options that were given are in the command.
    let report = Report::here(&["--map", "fuse=ext4", "--except", "/tmp"]);
    assert!(
        report.command().starts_with("fsmasq --map fuse=ext4 --except /tmp k3s server"),
        "{}",
        report.command()
    );
}

fn a_table_fits_a_terminal_and_has_colours_only_there() {
    let done = finish(launcher().arg("--doctor"));
    let text = done.text();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("ptrace") && text.contains("k3s server") && !text.contains('\x1b'), "{text}");
    for (variable, coloured) in [("", true), ("1", false)] {
        let mut command = launcher();
        command.arg("--doctor").env("NO_COLOR", variable);
        let mut terminal = Terminal::start(command, Tie::Controlling);
        let text = terminal.rest();
        terminal.wait();
        assert_eq!(text.contains("\x1b["), coloured, "{text}");
    }
}

fn it_takes_no_command_and_says_where_it_can_not_write() {
    let done = finish(launcher().args(["--doctor", "--", "true"]));
    assert_eq!(done.status.code(), Some(125), "{}", done.errors());
    let done = finish(launcher().arg("--doctor=xml"));
    assert_eq!(done.status.code(), Some(125), "{}", done.errors());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = launcher().arg("--doctor").stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(125));
}

fn below_the_prefix_it_says_to_leave_that_out() {
    let mut command = Engine::Seccomp.prefix().command(&stage().launcher);
    let report = Report::of(&finish(command.arg("--doctor=json")));
    let finding = report.finding("ptrace");
    assert_eq!((&finding["verdict"], report.status), (&Value::from("to do"), 1), "{finding}");
    assert!(finding["seen"].as_str().unwrap().contains("traced already, by fsmasq"), "{finding}");
}

fn who_is_not_root_is_told_what_only_root_can_try() {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&stage().launcher);
    let report = Report::of(&finish(command.arg("--doctor=json")));
    report.assert("user", "to do", Some("sudo fsmasq --doctor"));
    for what in ["mounts and namespaces", "overlay", "network namespace"] {
        report.assert(what, "unknown", None);
    }
    report.assert("ptrace", "fine", None);
    assert_eq!(report.status, 1);
}

fn a_type_that_the_kubelet_does_not_know_gets_an_option() {
    // Its source is nobody else's.
    let mounted = "mount -t ramfs fsmasq-test /var/lib &&";
    let report = Report::of(&apart(&format!("{mounted} exec fsmasq --doctor=json")));
    report.assert("/var/lib/kubelet", "to do", Some("--map ramfs=ext4"));
    assert!(report.command().contains("--map 9p=ext4 --map ramfs=ext4 "), "{}", report.command());
    assert_eq!(report.status, 1);
    let report = Report::of(&apart(&format!("{mounted} exec fsmasq --map ramfs=ext4 --doctor=json")));
    report.assert("/var/lib/kubelet", "fsmasq", None);
    // Shown as something that is as little known, it helps nobody.
    let report = Report::of(&apart(&format!("{mounted} exec fsmasq --map ramfs=udf --doctor=json")));
    assert_eq!(report.finding("/var/lib/kubelet")["verdict"], "to do");
    // Two devices of one source: the second one is not found.
    let shared =
        format!("{mounted} mkdir /var/lib/kubelet && mount -t ramfs fsmasq-test /var/lib/kubelet &&");
    let report = Report::of(&apart(&format!("{shared} exec fsmasq --map ramfs=ext4 --doctor=json")));
    report.assert("/var/lib/containerd", "fsmasq", None);
    report.assert("/var/lib/kubelet", "to do", Some("--profile gvisor"));
}

fn without_proc_it_says_to_mount_one() {
    let report = Report::of(&apart("mount -t tmpfs none /proc && exec fsmasq --doctor=json"));
    report.assert("/proc", "to do", Some("mount -t proc proc /proc"));
    // That all else of it is missing is the same thing.
    let todo = report.findings().iter().filter(|finding| finding["blocks"] == true);
    assert_eq!(todo.count(), 1, "{:#}", report.value);
    report.assert("kernel.panic", "unknown", None);
    assert_eq!(report.status, 1);
}

fn nothing_is_left_behind() {
    // What it tries to mount is tried where containerd would, so that is what is looked at; and where iptables has its lock.
    let script = "look() { cat /proc/self/mountinfo /proc/net/dev; find /var/lib /run; }; \
                  mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir /var/lib/tmp && before=$(look); \
                  said=$(TMPDIR=/var/lib/tmp fsmasq --doctor); after=$(look); [ \"$before\" = \"$after\" ] && echo same; \
                  echo \"$said\" | grep -c overlay.*works";
    assert_eq!(apart(script).quiet_success().text(), "same\n1\n");
}

fn what_the_profile_supplies(sandbox: Sandbox) {
    let report = Report::inside(sandbox, &[]);
    let supplied = ["/dev/kmsg", "vm.overcommit_memory", "kernel.panic", "kernel.keys.root_maxkeys"];
    for what in supplied {
        report.assert(what, "fsmasq", None);
    }
    for what in ["9p mounts", "/", "/var/lib/kubelet"] {
        report.assert(what, "fsmasq", None);
    }
    assert!(report.finding("kernel")["seen"].as_str().unwrap().starts_with("gVisor"));
    assert!(report.command().starts_with("fsmasq k3s server"), "{}", report.command());
    let without = Report::inside(sandbox, &["--profile", "none"]);
    for what in supplied {
        without.assert(what, "to do", Some("--profile gvisor"));
    }
    assert_eq!(without.status, 1);
    assert!(without.command().starts_with("fsmasq --profile gvisor k3s"), "{}", without.command());
    if sandbox != Sandbox::Old {
        report.assert("memory.stat", "fsmasq", None);
        report.assert("cpuacct.usage_percpu", "fsmasq", None);
        without.assert("cpuacct.usage_percpu", "to do", Some("--profile gvisor"));
    }
}

fn scope(sandbox: Sandbox) {
    let report = Report::inside(sandbox, &["--only", "/mnt"]);
    report.assert("/", "to do", Some("--only /"));
    assert_eq!(report.status, 1);
    Report::inside(sandbox, &["--only", "/mnt", "--only", "/"]).assert("/", "fsmasq", None);
}

fn containers(sandbox: Sandbox) {
    let report = Report::inside(sandbox, &[]);
    let parts = [
        "setns",
        "mount namespaces",
        "recursive bind mounts",
        "mount propagation",
        "read-only remounts",
        "devpts of its own",
    ];
    for what in parts {
        let finding = report.finding(what);
        let seen = finding["verdict"] == "to do" && finding["blocks"] == true;
        assert_eq!(seen, sandbox == Sandbox::Old, "{finding:#}");
    }
    report.assert("mqueue", "fine", None);
    if sandbox == Sandbox::Old {
        report.assert("overlay", "to do", Some("--snapshotter=native"));
        report.assert("other processes' memory", "fsmasq", None);
        // It says that it has made one.
        assert_eq!(report.finding("mount namespaces")["seen"], "Function not implemented");
        assert_eq!(report.status, 1);
    } else {
        report.assert("overlay", "fine", None);
        report.assert("controllers", "fine", None);
    }
}

fn nothing_is_left_in_a_sandbox(sandbox: Sandbox) {
    // Its root folder is that of other tests' sandboxes, too: a temporary folder would be seen for a moment.
    let look = "cat /proc/self/mountinfo /proc/net/dev; ls /tmp /mnt /dev";
    let script = format!(
        "mkdir /tmp/x; look() {{ {look}; }}; look > /tmp/x/before; fsmasq --doctor > /tmp/x/said; look > /tmp/x/after; \
         busybox diff /tmp/x/before /tmp/x/after && echo same; grep -c gVisor /tmp/x/said"
    );
    let text = sandbox.shell(&script).quiet_success().text();
    assert!(text.starts_with("same\n"), "{text}");
}

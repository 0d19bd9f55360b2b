//! The same inside gVisor, on real 9p mounts: today's (platforms systrap and ptrace) and that of 2022.

use crate::common::run::assert_same_lines;
use crate::common::sandbox::Sandbox;
use crate::common::tables::{lines_of_type, masked_from};
use crate::common::{Case, Engine};

/// Guests and their arguments, which say the same with and without the prefix but for the types in tables.
const GUESTS: &[(&str, &str)] = &[
    ("descriptor", "/proc/self/mountinfo"),
    ("descriptor-limit", "/proc/self/mountinfo"),
    ("registers", "/proc/self/mountinfo"),
    ("statfs-errors", ""),
    ("table-in-chroot", "/ /proc/self/mountinfo"),
    ("table-often", "20 /proc/self/mounts"),
    ("threads", "/proc/self/mountinfo"),
    ("signals", "/proc/self/mounts"),
    ("fork-storm", "/proc/self/mounts"),
    ("exec-in-thread", "/proc/self/mountinfo"),
    ("untraced-clone", "clone /mnt"),
    ("children", "/mnt /proc/self/mounts"),
    ("storm", "queued /proc/self/mounts"),
    ("resolves", "/proc/self/mounts"),
    ("blocked", "/tmp /proc/self/mountinfo"),
    ("exec", "failures /tmp /proc/self/mounts"),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sandbox in Sandbox::ALL {
        let mut add = |name: &str, body: fn(Sandbox)| {
            let name = format!("gvisor: {name} [{}]", sandbox.name());
            cases.push(Case::made(name, sandbox.needs(), move || body(sandbox)));
        };
        add("the type in statfs changes and no other byte", only_the_type_changes);
        add("tables of all tasks are masked", tables_of_all_tasks);
        add("a table is masked in every way of reading", every_way_of_reading);
        add("without a filter it is the same", without_a_filter);
        add("the command can be the sandbox's first process", first_process);
        add("the exit status and the death by a signal are the sandbox's", ends);
        add("a process that outlives the command is served", survivor);
        add("the profile is taken by itself and announced", profile_is_announced);
        add("kernel parameters that are missing can be read and written", parameters);
        add("a kernel parameter that refuses writes keeps what was written", refused_write);
        add("a kernel parameter that is missing is written by root only", unprivileged);
        add("figures of control groups are missing elsewhere", elsewhere);
        add("the kernel log is there and empty", kernel_log);
        add("fstatfs of a file of procfs says so", procfs);
        if sandbox != Sandbox::Old {
            // The old one has no cgroups.
            add("usage per CPU has a stand-in, also beneath a descriptor", usage_per_cpu);
        }
        add("sources are unique per device", sources);
        let name = format!("gvisor: ignored signals interrupt nothing [{}]", sandbox.name());
        cases.push(Case::made(name, sandbox.needs_with_dispositions(), move || {
            same(sandbox, Engine::FastPath, "ignored-signals", "");
        }));
        for (guest, arguments) in GUESTS {
            let name = format!("gvisor: guest {guest} is as without the prefix [{}]", sandbox.name());
            cases.push(Case::made(name, sandbox.needs(), move || {
                same(sandbox, Engine::Seccomp, guest, arguments);
                same(sandbox, Engine::FastPath, guest, arguments);
            }));
        }
    }
    cases
}

/// Runs a guest bare and below the prefix; they must say the same.
#[track_caller]
fn same(sandbox: Sandbox, engine: Engine, guest: &str, arguments: &str) -> String {
    let [bare, masked] = sandbox.bare_and_masked(engine, guest, arguments);
    // A call that this sandbox lacks ends a guest bare as well.
    assert_eq!(masked.status.code(), bare.status.code(), "{guest} {arguments}: {}", masked.errors());
    if sandbox != Sandbox::Old {
        assert!(bare.status.success(), "{guest} {arguments} bare: {}", bare.errors());
    }
    if bare.status.success() {
        assert_eq!(masked.errors(), "", "{guest} {arguments}");
    }
    let expected = String::from_utf8_lossy(&masked_from(b"9p", &bare.stdout)).into_owned();
    let said = |text: &str| match sandbox {
        // Its procfs has no fstatfs; the file that stands for a table has.
        Sandbox::Old => text
            .lines()
            .filter(|l| {
                !l.starts_with("fstatfs E") && !l.starts_with("fstatfs O") && !l.starts_with("  type ")
            })
            .map(|l| format!("{l}\n"))
            .collect(),
        _ => text.to_owned(),
    };
    assert_same_lines(&said(&masked.text()), &said(&expected), &format!("{guest} {arguments}"));
    masked.text()
}

/// The magics as `statfs` shows them.
const V9FS: &str = " 9719020100000000 ";
const EXT4: &str = " 53ef000000000000 ";

fn only_the_type_changes(sandbox: Sandbox) {
    let [bare, masked] =
        sandbox.bare_and_masked(Engine::Seccomp, "statfs", "/mnt / /bin/sh /proc /tmp /dev/null");
    let expected = bare.success().text();
    assert!(expected.matches(V9FS).count() >= 6, "{expected}");
    // Free blocks of the machine's disk may have changed in between: compare what is apart from them.
    let steady = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| {
                let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                words[4].replace_range(16..96, "");
                words.join(" ")
            })
            .collect()
    };
    assert_eq!(steady(&masked.quiet_success().text()), steady(&expected.replace(V9FS, EXT4)));
}

fn tables_of_all_tasks(sandbox: Sandbox) {
    for path in
        ["/proc/self/mountinfo", "/proc/self/mounts", "/proc/mounts", "/proc/1/mountinfo", "/proc/1/mounts"]
    {
        let text = same(sandbox, Engine::Seccomp, "table", &format!("openat {path}"));
        assert!(lines_of_type(text.as_bytes(), "ext4") >= 2, "{path}: {text}");
        assert_eq!(lines_of_type(text.as_bytes(), "9p"), 0, "{path}: {text}");
    }
}

fn every_way_of_reading(sandbox: Sandbox) {
    for way in crate::guests::WAYS {
        for engine in [Engine::Seccomp, Engine::FastPath] {
            same(sandbox, engine, "table", &format!("{way} /proc/self/mountinfo"));
        }
    }
}

fn without_a_filter(sandbox: Sandbox) {
    for way in ["openat", "open", "one-byte", "dup", "thread", "vfork"] {
        let text = same(sandbox, Engine::AllStops, "table", &format!("{way} /proc/self/mountinfo"));
        assert!(lines_of_type(text.as_bytes(), "ext4") >= 2, "{text}");
    }
    same(sandbox, Engine::AllStops, "statfs-errors", "");
    same(sandbox, Engine::AllStops, "fork-storm", "/proc/self/mounts");
}

/// Runs a script below the prefix, as the first process of a sandbox.
#[track_caller]
fn below(sandbox: Sandbox, options: &[&str], script: &str) -> crate::common::Done {
    let mut words = vec!["fsmasq"];
    words.extend(options);
    words.extend(["--", "sh", "-c", script]);
    sandbox.run(&words).0
}

const BARE: &[&str] = &["--profile", "none"];
const PROFILE: &[&str] = &["--profile", "gvisor"];

fn first_process(sandbox: Sandbox) {
    let script = "echo $$; stat -f -c %t /mnt; (true &); while read -r line; do case $line in *' ext4 '*) echo masked;; \
                  *' 9p '*) echo not;; esac; done < /proc/mounts; read -r name < /proc/1/comm; echo $name";
    assert_eq!(below(sandbox, BARE, script).quiet_success().text(), "1\nef53\nmasked\nmasked\nsh\n");
}

fn ends(sandbox: Sandbox) {
    for status in [0, 1, 42, 125, 255] {
        let done = below(sandbox, BARE, &format!("exit {status}"));
        assert_eq!((done.status.code(), done.errors().as_str()), (Some(status), ""));
    }
    // A shell says so by its exit status, the sandbox by its own.
    let script = "for signal in TERM KILL ABRT USR1 40; do fsmasq --profile none sh -c \"kill -$signal \\$\\$\"; echo $?; done";
    let text = sandbox.shell(script).text();
    assert_eq!(text, "143\n137\n134\n138\n168\n");
    let done = sandbox.run(&["fsmasq", "--profile", "none", "guest", "--guest", "crash"]).0;
    assert_eq!(done.status.code(), Some(128 + libc::SIGSEGV), "{}", done.errors());
    assert_eq!(sandbox.run(&["fsmasq", "--profile", "none", "no-such-program"]).0.status.code(), Some(127));
}

fn survivor(sandbox: Sandbox) {
    let script = "mkdir -p /tmp/x; busybox mkfifo /tmp/x/gate /tmp/x/report; \
                  fsmasq --profile none guest --guest survivor /tmp/x/gate /tmp/x/report /proc/self/mounts; echo $?; \
                  echo go > /tmp/x/gate; cat /tmp/x/report";
    let text = sandbox.shell(script).quiet_success().text();
    assert!(text.starts_with("the command ends\n3\n"), "{text}");
    assert!(
        lines_of_type(text.as_bytes(), "ext4") >= 2 && lines_of_type(text.as_bytes(), "9p") == 0,
        "{text}"
    );
}

fn profile_is_announced(sandbox: Sandbox) {
    let done = below(sandbox, &[], "cat /proc/sys/kernel/panic");
    assert_eq!(done.errors().lines().count(), 1, "{}", done.errors());
    assert!(
        done.errors().contains("gVisor") && done.errors().contains("--profile none"),
        "{}",
        done.errors()
    );
    assert_eq!(done.success().text(), "0\n");
    let done = sandbox.run(&["fsmasq", "--print-profile"]).0.success();
    assert!(done.text().contains("name = \"gvisor\""), "{}", done.text());
}

fn parameters(sandbox: Sandbox) {
    for (path, first) in [
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "0"),
        ("kernel/panic_on_oops", "0"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/keys/root_maxbytes", "25000000"),
        ("net/ipv4/conf/all/route_localnet", "0"),
    ] {
        let path = format!("/proc/sys/{path}");
        let script = format!("cat {path}; sh -c 'echo 17 > {path}'; cat {path}; (cat {path})");
        assert_eq!(
            below(sandbox, PROFILE, &script).quiet_success().text(),
            format!("{first}\n17\n17\n"),
            "{path}"
        );
        let bare = sandbox.shell(&format!("cat {path}"));
        assert!(!bare.status.success(), "{path} is not missing here: the rule can go");
    }
}

fn unprivileged(sandbox: Sandbox) {
    let path = "/proc/sys/kernel/panic";
    let script = format!(
        "mount -t tmpfs none /etc && echo nobody:x:65534:65534::/:/bin/sh > /etc/passwd; \
         busybox start-stop-daemon -S -c nobody -p /tmp/none -a /bin/sh -- -c '\
           (echo 9 > {path}) 2> /dev/null || echo refused; guest --guest table read-write {path}; echo; cat {path}'; \
         echo 8 > {path}; cat {path}"
    );
    let text = below(sandbox, PROFILE, &script).quiet_success().text();
    assert_eq!(text, "refused\nerrno 13\n0\n8\n");
}

fn elsewhere(sandbox: Sandbox) {
    let script =
        "for name in stat failcnt oom.group; do cat /tmp/memory.$name 2> /dev/null || echo missing; done";
    assert_eq!(below(sandbox, PROFILE, script).quiet_success().text(), "missing\n".repeat(3));
    if sandbox != Sandbox::Old {
        let script = "cd /sys/fs/cgroup/memory; cat memory.failcnt ../memory/memory.failcnt";
        assert_eq!(below(sandbox, PROFILE, script).quiet_success().text(), "0\n0\n");
    }
}

fn procfs(sandbox: Sandbox) {
    let script = "guest --guest statfs /proc/version | grep ^fstatfs";
    let said = below(sandbox, PROFILE, script).quiet_success().text();
    // PROC_SUPER_MAGIC (linux/magic.h), in memory's order.
    assert!(said.starts_with("fstatfs /proc/version Ok(0) a09f000000000000 "), "{said}");
    if sandbox == Sandbox::Old {
        let said = below(sandbox, BARE, script).quiet_success().text();
        assert!(said.starts_with("fstatfs /proc/version Err(38) "), "not lacking any more: {said}");
    }
}

fn refused_write(sandbox: Sandbox) {
    let path = "/proc/sys/vm/overcommit_memory";
    let script = format!("cat {path}; echo 1 > {path} && echo written; cat {path}; sh -c 'cat {path}'");
    let text = below(sandbox, PROFILE, &script).quiet_success().text();
    assert_eq!(text, "0\nwritten\n1\n1\n");
}

fn kernel_log(sandbox: Sandbox) {
    let script = "wc -c < /dev/kmsg; exec 3< /dev/kmsg; echo opened";
    assert_eq!(below(sandbox, PROFILE, script).quiet_success().text(), "0\nopened\n");
}

fn usage_per_cpu(sandbox: Sandbox) {
    // The figure grows: that it is one is all that can be said.
    let script = "cd /sys/fs/cgroup/cpuacct; ls cpuacct.usage_percpu 2> /dev/null; \
                  read n < cpuacct.usage_percpu; [ \"$n\" -gt 0 ] && echo a figure; \
                  n=$(guest --guest openat2-beneath /sys/fs/cgroup cpuacct/cpuacct.usage_percpu); \
                  [ \"$n\" -gt 0 ] && echo a figure";
    let done = below(sandbox, PROFILE, script);
    assert_eq!(done.quiet_success().text(), "a figure\na figure\n");
}

fn sources(sandbox: Sandbox) {
    let read = "cat /proc/self/mountinfo";
    let bare = sandbox.shell(read).quiet_success().text();
    let seen = below(sandbox, PROFILE, read).quiet_success().text();
    let devices: Vec<&str> =
        seen.lines().filter(|l| l.contains(" ext4 ")).map(|l| l.split(' ').nth(2).unwrap()).collect();
    assert!(devices.len() >= 2, "{seen}");
    for device in devices {
        assert!(seen.contains(&format!(" - ext4 /dev/fsmasq-{} rw", device.replace(':', "-"))), "{seen}");
    }
    // Other file systems keep their `none`.
    let others = |text: &str| text.matches(" none ").count();
    assert_eq!(others(&seen), others(&bare) - bare.matches(" 9p ").count());
}

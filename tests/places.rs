//! Namespaces of every kind, other roots, other kinds of /proc, little room, frozen groups; and ways to a file that
//! pass no open.

use crate::common::needs::{BUSYBOX, Need, ROOT, SETPRIV, UNSHARE};
use crate::common::run::{assert_same_lines, same_but_masked};
use crate::common::tables::{lines_of_type, masked};
use crate::common::{Case, Done, Engine, bare, bare_guest, both, finish, stage};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

const FREEZER: Need = Need::new("control groups that freeze, and may be made", || Group::new().is_some());

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            where_no_memory_can_be_mapped_a_table_is_read,
            an_open_that_blocks_holds_nobody_up,
            restrictions_of_openat2_are_the_kernels,
            what_a_ring_opens_is_the_kernels_and_the_program_works,
        ),
        both!(&[ROOT, UNSHARE];
            namespaces_of_other_kinds_change_nothing,
            a_cgroup_namespace_has_its_own_view_of_groups,
            a_proc_with_options_serves_as_any,
            below_the_proc_of_another_namespace_the_rest_is_said,
        ),
        both!(&[ROOT]; files_opened_by_handles_are_of_the_same_type),
        both!(&[ROOT, UNSHARE, SETPRIV]; a_proc_that_hides_others_serves_an_unprivileged_user),
        both!(&[ROOT, UNSHARE, BUSYBOX]; a_pivoted_root_has_its_own_table),
        both!(&[ROOT, FREEZER]; a_frozen_program_holds_nobody_up_and_goes_on),
    ]
    .concat()
}

const TABLE: &str = "/proc/self/mountinfo";

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn run(words: &[OsString]) -> Done {
    finish(bare(&words[0]).args(&words[1..]).env("RUST_BACKTRACE", "0"))
}

/// A reader of a table in a place, which the words in front make: bare, and with the launcher in that place.
#[track_caller]
fn same_inside(engine: Engine, outside: &[&str], table: &str) {
    let guest = [vec![stage().guest.clone().into()], words(&["--guest", "table", "openat", table])].concat();
    let expected = run(&[words(outside), guest.clone()].concat()).quiet_success();
    let seen = run(&[words(outside), engine.prefix().words(), guest].concat()).quiet_success();
    let text = String::from_utf8_lossy(&masked(&expected.stdout)).into_owned();
    assert!(lines_of_type(&seen.stdout, "ext4") > 0, "{outside:?}");
    assert_same_lines(&seen.text(), &text, &format!("{outside:?}"));
}

/// The same with the place below the launcher.
#[track_caller]
fn same_below(engine: Engine, inside: &[&str], table: &str) {
    let guest = [vec![stage().guest.clone().into()], words(&["--guest", "table", "openat", table])].concat();
    let expected = run(&[words(inside), guest.clone()].concat()).quiet_success();
    let seen = run(&[engine.prefix().words(), words(inside), guest].concat()).quiet_success();
    let text = String::from_utf8_lossy(&masked(&expected.stdout)).into_owned();
    assert!(lines_of_type(&seen.stdout, "ext4") > 0, "{inside:?}");
    assert_same_lines(&seen.text(), &text, &format!("{inside:?}"));
}

fn namespaces_of_other_kinds_change_nothing(engine: Engine) {
    for kind in ["-n", "-u", "-i", "-T"] {
        same_below(engine, &["unshare", kind], TABLE);
        same_inside(engine, &["unshare", kind], TABLE);
    }
}

/// The kernel writes the roots of such mounts for whoever reads them.
fn a_cgroup_namespace_has_its_own_view_of_groups(engine: Engine) {
    same_inside(engine, &["unshare", "-C"], TABLE);
    same_below(engine, &["unshare", "-C"], TABLE);
}

/// Without the numbers of mounts, which each new namespace has others of.
const MOUNTS: &str = "/proc/self/mounts";

fn mounting(options: &str) -> String {
    format!("mount -t proc -o {options} proc /proc && exec \"$@\"")
}

fn a_proc_with_options_serves_as_any(engine: Engine) {
    let mounts = ["hidepid=1", "hidepid=2", "hidepid=4", "subset=pid", "subset=pid,hidepid=4"].map(mounting);
    let read_only = "mount -o remount,bind,ro /proc && exec \"$@\"";
    for script in mounts.iter().map(String::as_str).chain([read_only]) {
        same_inside(engine, &["unshare", "-m", "sh", "-c", script, "sh"], MOUNTS);
        same_below(engine, &["unshare", "-m", "sh", "-c", script, "sh"], MOUNTS);
    }
}

fn a_proc_that_hides_others_serves_an_unprivileged_user(engine: Engine) {
    for options in ["hidepid=1", "hidepid=2", "hidepid=4", "subset=pid"] {
        let script = mounting(options);
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"];
        let place = ["unshare", "-m", "sh", "-c", &script, "sh"];
        same_inside(engine, &[&place[..], &nobody].concat(), MOUNTS);
    }
}

/// The tracer's tasks have other numbers there: tables can't be looked at, and nothing else suffers.
fn below_the_proc_of_another_namespace_the_rest_is_said(engine: Engine) {
    let script = "stat -f -c %t /dev/shm; cat /proc/mounts > /dev/null && echo read";
    let done =
        run(&[words(&["unshare", "-pf"]), engine.prefix().words(), words(&["sh", "-c", script])].concat())
            .success();
    assert_eq!(done.text(), "ef53\nread\n");
    let errors = done.errors();
    assert!(errors.contains("WARN") && errors.contains("mount -t proc"), "{errors}");
}

fn a_pivoted_root_has_its_own_table(engine: Engine) {
    let script = "mount -t tmpfs new-root \"$1\" && cd \"$1\" && mkdir old proc bin && cp \"$(command -v busybox)\" bin/ && \
                  pivot_root . old && exec bin/busybox sh -c 'cd /; /bin/busybox mount -t proc proc /proc; \
                  /bin/busybox umount -l /old; /bin/busybox cat /proc/self/mounts /proc/1/mounts > /all; \
                  /bin/busybox cat /proc/self/mountinfo /proc/self/mounts; /bin/busybox stat -f -c %t /'";
    let place = stage().scratch("pivot");
    let place = place.to_str().unwrap();
    let words = words(&["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", place]);
    let expected = run(&words).quiet_success().text();
    let seen = run(&[engine.prefix().words(), words].concat()).quiet_success();
    assert!(expected.ends_with("\n1021994\n"), "{expected}");
    // Numbers of mounts and devices are given anew each time.
    let without_numbers = |text: &str| -> String {
        text.lines()
            .map(|line| match line.split_once(" / / ") {
                Some((_, rest)) => format!("/ {rest}\n"),
                None => line.split_once(" / /proc ").map_or(line, |(_, rest)| rest).to_owned() + "\n",
            })
            .collect()
    };
    let expected = masked(expected.replace("\n1021994\n", "\nef53\n").as_bytes());
    let expected = String::from_utf8_lossy(&expected).into_owned();
    assert_same_lines(&without_numbers(&seen.text()), &without_numbers(&expected), "a pivoted root");
    assert!(lines_of_type(&seen.stdout, "ext4") > 0 && lines_of_type(&seen.stdout, "tmpfs") == 0);
}

fn small() -> PathBuf {
    if stage().has_mounts { stage().quiet() } else { "/dev/shm".into() }
}

/// Injected calls need a page: where none is to be had, the kernel's own table is shown, and that is said.
fn where_no_memory_can_be_mapped_a_table_is_read(engine: Engine) {
    let arguments = [TABLE.into(), small()];
    let expected = finish(bare_guest("without-room").args(&arguments)).quiet_success().text();
    let seen = finish(engine.prefix().guest("without-room").args(&arguments)).success();
    let magic = |text: &str| text.replace("a type that tmpfs has: 1", "a type that tmpfs has: 0");
    let expected = magic(&expected);
    if seen.text() == expected {
        assert!(seen.errors().contains("WARN") && seen.errors().contains("mmap"), "{}", seen.errors());
    } else {
        let masked = String::from_utf8_lossy(&masked(expected.as_bytes())).into_owned();
        assert_same_lines(&seen.text(), &masked, "without room");
    }
}

fn an_open_that_blocks_holds_nobody_up(engine: Engine) {
    let run = |mut command: std::process::Command| {
        finish(command.arg(stage().scratch("blocked")).arg(TABLE)).quiet_success()
    };
    let expected = run(bare_guest("blocked"));
    let seen = run(engine.prefix().guest("blocked"));
    assert!(seen.text().starts_with("through\n"), "{}", seen.text());
    assert_same_lines(&seen.text(), &String::from_utf8_lossy(&masked(&expected.stdout)), "blocked");
}

fn restrictions_of_openat2_are_the_kernels(engine: Engine) {
    let seen = same_but_masked(engine, "resolves", &["/proc/self/mounts"]);
    assert!(lines_of_type(&seen.stdout, "ext4") > 0);
}

/// A ring opens files without a call that could stop.
fn what_a_ring_opens_is_the_kernels_and_the_program_works(engine: Engine) {
    let expected = finish(bare_guest("ring").arg(TABLE)).quiet_success();
    let seen = finish(engine.prefix().guest("ring").arg(TABLE)).quiet_success();
    if seen.stdout != expected.stdout {
        assert_eq!(seen.text(), String::from_utf8_lossy(&masked(&expected.stdout)));
    }
}

fn files_opened_by_handles_are_of_the_same_type(engine: Engine) {
    let quiet = stage().quiet();
    let arguments = [quiet.to_str().unwrap(), TABLE];
    let expected = finish(bare_guest("handles").args(arguments)).quiet_success().text();
    let seen = finish(engine.prefix().guest("handles").args(arguments)).quiet_success().text();
    assert!(expected.contains("fstatfs says tmpfs: 1\n"), "{expected}");
    let ext4 = expected
        .replace("fstatfs says tmpfs: 1", "fstatfs says tmpfs: 0")
        .replace("a type that tmpfs has: 1", "a type that tmpfs has: 0");
    assert_eq!(seen, ext4);
}

/// A control group that goes when it is dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Group> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fsmasq-test-{}-{number}", std::process::id());
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer"].iter().find_map(|top| {
            let group = Group(PathBuf::from(top).join(&name));
            std::fs::create_dir(&group.0).ok()?;
            let can_freeze =
                ["cgroup.freeze", "freezer.state"].iter().any(|file| group.0.join(file).exists());
            can_freeze.then_some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn a_frozen_program_holds_nobody_up_and_goes_on(engine: Engine) {
    let group = Group::new().unwrap();
    let seen = same_but_masked(engine, "frozen", &[group.0.to_str().unwrap(), TABLE]);
    assert!(seen.text().starts_with("frozen and thawed: 0x0\n"), "{}", seen.text());
}

//! The first process of a PID namespace, as a container's: below the prefix it has the same duties and
//! privileges.

use crate::common::needs::{Need, ROOT, UNSHARE, finds};
use crate::common::run::signal_of;
use crate::common::{Case, Done, Engine, both, finish, stage};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const TINI: Need = Need::new("tini", || finds("tini"));
const DUMB_INIT: Need = Need::new("dumb-init", || finds("dumb-init"));
const CATATONIT: Need = Need::new("catatonit", || finds("catatonit"));

pub fn cases() -> Vec<Case> {
    [
        both!(&[ROOT, UNSHARE];
            it_reaps_the_orphans_of_its_namespace_and_no_others,
            signals_of_the_outside_do_what_they_do_natively,
            its_end_is_the_end_of_all_others,
            its_death_is_the_end_of_all_others,
            a_tree_of_namespaces_ends_from_the_top,
        ),
        both!(&[ROOT, UNSHARE, TINI]; tini_serves_as_natively),
        both!(&[ROOT, UNSHARE, DUMB_INIT]; dumb_init_serves_as_natively),
        both!(&[ROOT, UNSHARE, CATATONIT]; catatonit_serves_as_natively),
    ]
    .concat()
}

const NAMESPACE: [&str; 4] = ["unshare", "-pf", "--mount-proc", "--kill-child"];

/// In a new PID namespace; the words in front are the prefix, or nothing.
fn first(prefix: &[OsString], words: &[&str]) -> Command {
    let mut command = Command::new(NAMESPACE[0]);
    command.args(&NAMESPACE[1..]).args(prefix).args(words);
    command
}

/// Runs the words as PID 1, bare and below the prefix: the same output and the same end.
#[track_caller]
pub fn same(engine: Engine, words: &[&str]) -> String {
    let outcome = |done: Done| (done.text(), done.errors(), done.status.code(), signal_of(&done));
    let expected = outcome(finish(&mut first(&[], words)));
    assert_eq!(outcome(finish(&mut first(&engine.prefix().words(), words))), expected, "{words:?}");
    expected.0
}

pub fn guest() -> &'static str {
    stage().guest.to_str().unwrap()
}

fn it_reaps_the_orphans_of_its_namespace_and_no_others(engine: Engine) {
    let seen = same(engine, &[guest(), "--guest", "reaper"]);
    assert_eq!(seen, "[1, 2, 3, 4, 5, 11, 12, 13, 14, 15]\n");
}

/// A namespace whose first process has said that it is ready: unshare, and that process's id out here.
fn ready(mut command: Command) -> (Child, i32) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::with_capacity(1, child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready 1\n");
    child.stdout = Some(stdout.into_inner());
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let first = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    (child, first)
}

fn signals_of_the_outside_do_what_they_do_natively(engine: Engine) {
    let after = |prefix: &[OsString], words: &[&str], signals: &[i32]| {
        let (mut child, first) = ready(first(prefix, words));
        for signal in signals {
            // SAFETY: no pointers; a child of our child.
            assert_eq!(unsafe { libc::kill(first, *signal) }, 0);
        }
        // Who is still there ends with its input.
        drop(child.stdin.take());
        let done = crate::common::run::wait(child, "a namespace");
        (done.text(), done.status)
    };
    let reads = "echo ready $$; read word; echo read; exit 6";
    let handles = "trap 'echo told; exit 7' TERM; sleep 1000 & echo ready $$; wait";
    let scripts = [
        (reads, vec![libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1]),
        (handles, vec![libc::SIGTERM]),
        (reads, vec![libc::SIGSTOP, libc::SIGCONT]),
        (reads, vec![libc::SIGSTOP, libc::SIGKILL]),
    ];
    for (script, signals) in scripts {
        let words = ["sh", "-c", script];
        let expected = after(&[], &words, &signals);
        assert_eq!(after(&engine.prefix().words(), &words, &signals), expected, "{script} {signals:?}");
    }
}

fn its_end_is_the_end_of_all_others(engine: Engine) {
    // Among them one that would wait for ever, one that is stopped, and one that ignores what it can.
    let script = "sleep 1000 & sh -c 'kill -STOP $$' & sh -c 'trap \"\" TERM HUP; exec sleep 1000' & \
                  setsid sleep 1000 & echo ends; exit 9";
    assert_eq!(same(engine, &["sh", "-c", script]), "ends\n");
}

fn its_death_is_the_end_of_all_others(engine: Engine) {
    let script = format!("sleep 1000 & setsid sleep 1000 & exec '{}' --guest crash", guest());
    same(engine, &["sh", "-c", &script]);
    let (child, first) = ready(first(
        &engine.prefix().words(),
        &["sh", "-c", "sleep 1000 & setsid sleep 1000 & echo ready $$; read word"],
    ));
    // SAFETY: no pointers; a child of our child.
    unsafe { libc::kill(first, libc::SIGKILL) };
    let done = crate::common::run::wait(child, "a namespace whose first process was killed");
    assert!(!done.status.success());
}

fn a_tree_of_namespaces_ends_from_the_top(engine: Engine) {
    // Both below one prefix; the inner first process has children when the outer one ends.
    let inner = "sleep 1000 & echo inner > \"$0\"; sleep 1000; :";
    let script = format!(
        "mkfifo \"$0\"; unshare -pf --mount-proc sh -c '{inner}' \"$0\" & read word < \"$0\"; echo \"$word\"; exit 8"
    );
    let fifo = |name: &str| stage().scratch("tree").join(name).to_str().unwrap().to_owned();
    for prefix in [vec![], engine.prefix().words()] {
        let done = finish(&mut first(&prefix, &["sh", "-c", &script, &fifo("gate")]));
        assert_eq!(
            (done.text().as_str(), done.errors().as_str(), done.status.code()),
            ("inner\n", "", Some(8))
        );
    }
}

/// Below the prefix, and above it: the init's child is then the prefix.
#[track_caller]
fn serves(engine: Engine, init: &[&str]) {
    let with = |words: [&'static str; 3]| [init, &words].concat();
    same(engine, &with(["sh", "-c", "(sh -c 'sleep 0.1; exit 3' &); exit 5"]));
    same(engine, &with(["sh", "-c", "kill -TERM $$"]));
    same(engine, &with(["sh", "-c", "trap 'exit 6' TERM; kill -TERM 1; sleep 1000 & wait"]));
    let script = "trap 'exit 6' TERM; stat -f -c %t /dev/shm; kill -TERM 1; sleep 1000 & wait";
    let mut words: Vec<OsString> = init.iter().map(Into::into).collect();
    words.extend(engine.prefix().words());
    let done = finish(&mut first(&words, &["sh", "-c", script]));
    assert_eq!((done.text().as_str(), done.errors().as_str(), done.status.code()), ("ef53\n", "", Some(6)));
}

fn tini_serves_as_natively(engine: Engine) {
    serves(engine, &["tini", "--"]);
    serves(engine, &["tini", "-g", "--"]);
}

fn dumb_init_serves_as_natively(engine: Engine) {
    serves(engine, &["dumb-init", "--"]);
    serves(engine, &["dumb-init", "--single-child", "--"]);
}

fn catatonit_serves_as_natively(engine: Engine) {
    serves(engine, &["catatonit", "--"]);
}

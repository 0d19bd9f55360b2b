//! Programs that mean ill: they change things between a stop and their use, and gain nothing by it. Nobody else
//! waits, and nothing of anybody else's is touched.

use crate::common::needs::{Need, ROOT, SETPRIV, UNSHARE, USER_NAMESPACES};
use crate::common::run::{assert_same_lines, same_but_masked};
use crate::common::sandbox::Sandbox;
use crate::common::tables::masked;
use crate::common::{Case, Engine, bare_guest, both, finish, stage};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const TABLE: &str = "/proc/self/mountinfo";

const USERFAULTFD: Need = Need::new("userfaultfd, as root", || {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
    // SAFETY: as above.
    fd >= 0 && unsafe { libc::close(fd as i32) } == 0
});

pub fn cases() -> Vec<Case> {
    let sandboxes = Sandbox::ALL.into_iter().map(|sandbox| {
        let name = format!(
            "hostile: in gVisor ({}), a thread that changes descriptors and memory gains nothing",
            sandbox.name()
        );
        Case::made(name, sandbox.needs(), move || in_gvisor(sandbox))
    });
    [
        both!(&[];
            a_descriptor_that_a_thread_exchanges_is_not_opened,
            a_descriptor_that_a_process_exchanges_is_not_opened,
            a_fifo_that_a_thread_puts_in_place_holds_nobody_up,
            a_struct_at_the_edge_of_memory_is_answered_as_natively,
            a_struct_whose_page_comes_and_goes_harms_nobody,
            a_path_that_is_rewritten_all_the_time_harms_nobody,
        ),
        both!(&[ROOT, SETPRIV]; another_user_can_do_nothing_to_the_tracer),
        both!(&[ROOT, SETPRIV, UNSHARE, USER_NAMESPACES];
            a_file_that_poses_as_the_tracers_is_not_written,
            a_file_that_poses_as_a_table_is_not_read,
        ),
        both!(&[USERFAULTFD]; a_page_that_nobody_serves_holds_up_nobody_else),
        sandboxes.collect(),
    ]
    .concat()
}

fn exchanged(engine: Engine, sibling: &str, fifo: &str) {
    let folder = stage().scratch("exchanged");
    let mut command = engine.prefix().guest("swapped");
    command.args([sibling, folder.to_str().unwrap(), TABLE, "300", fifo]);
    assert_eq!(finish(&mut command).success().text(), "unharmed\n");
}

fn a_descriptor_that_a_thread_exchanges_is_not_opened(engine: Engine) {
    exchanged(engine, "thread", "");
}

fn a_descriptor_that_a_process_exchanges_is_not_opened(engine: Engine) {
    exchanged(engine, "process", "");
}

fn a_struct_at_the_edge_of_memory_is_answered_as_natively(engine: Engine) {
    let folder = if stage().has_mounts { stage().quiet() } else { "/dev/shm".into() };
    same_but_masked(engine, "statfs-edges", &[folder.to_str().unwrap()]);
}

fn a_struct_whose_page_comes_and_goes_harms_nobody(engine: Engine) {
    let done = finish(engine.prefix().guest("moving-buffer").arg("/dev/shm"));
    assert_eq!(done.success().text(), "unharmed\n");
}

fn a_path_that_is_rewritten_all_the_time_harms_nobody(engine: Engine) {
    let done = finish(engine.prefix().guest("rewritten-path").arg(TABLE));
    assert_eq!(done.success().text(), "unharmed\n");
}

fn a_fifo_that_a_thread_puts_in_place_holds_nobody_up(engine: Engine) {
    exchanged(engine, "thread", "fifo");
}

const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn another_user_can_do_nothing_to_the_tracer(engine: Engine) {
    let mut command = engine.prefix().command(NOBODY[0]);
    command.args(&NOBODY[1..]).arg(&stage().guest).args(["--guest", "attack", TABLE]);
    let text = finish(&mut command).quiet_success().text();
    assert_eq!(text.lines().count(), 12, "{text}");
    assert!(text.lines().all(|line| line.contains("Err")), "{text}");
}

/// Runs the guest as a user without any right, in namespaces of its own.
#[track_caller]
fn pose(engine: Engine, object: &str, names: [&str; 2], behind: &str) {
    let base = stage().scratch("pose");
    let mut command = engine.prefix().command(NOBODY[0]);
    command
        .args(&NOBODY[1..])
        .args(["unshare", "-Urm"])
        .arg(&stage().guest)
        .args(["--guest", "posing", object]);
    command.arg(&base).args(names).args([behind, "300"]);
    assert_eq!(finish(&mut command).success().text(), "unharmed\n");
}

fn a_file_that_poses_as_the_tracers_is_not_written(engine: Engine) {
    let victim = stage().scratch("victim").join("file");
    fs::write(&victim, "secret").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    pose(engine, victim.to_str().unwrap(), ["memfd:x", "file"], "1");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
    assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o7777, 0o600);
}

fn a_file_that_poses_as_a_table_is_not_read(engine: Engine) {
    // Its reader waits until the kernel has a new message.
    pose(engine, "/proc/kmsg", ["x", "mounts"], "0");
}

fn a_page_that_nobody_serves_holds_up_nobody_else(engine: Engine) {
    let expected = finish(bare_guest("table").args(["openat", TABLE])).quiet_success();
    let seen = finish(engine.prefix().guest("unserved-page").arg(TABLE)).quiet_success();
    let expected = String::from_utf8_lossy(&masked(&expected.stdout)).into_owned();
    assert_same_lines(&seen.text(), &expected, "the table");
}

fn in_gvisor(sandbox: Sandbox) {
    // It has no such kernel addresses as Linux, so the results are compared with its own.
    let [bare, below] = sandbox.bare_and_masked(Engine::Seccomp, "statfs-edges", "/mnt");
    assert_eq!((below.text(), below.status.code()), (bare.text(), bare.status.code()), "{}", below.errors());
    for guest in [
        "moving-buffer /mnt",
        "rewritten-path /proc/self/mountinfo",
        "swapped thread /tmp /proc/self/mountinfo 60",
    ] {
        let (guest, arguments) = guest.split_once(' ').unwrap();
        let [bare, below] = sandbox.bare_and_masked(Engine::Seccomp, guest, arguments);
        assert_eq!(below.status.code(), bare.status.code(), "{guest}: {}", below.errors());
        assert_eq!(below.text(), bare.text(), "{guest}: {}", below.errors());
    }
}

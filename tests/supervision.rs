//! A command that others start, watch, and end: the prefix is not in their way.

use crate::common::needs::{Need, finds};
use crate::common::run::{signal_of, tracer_of, wait};
use crate::common::{Case, Engine, bare, bare_guest, both, finish, stage};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use std::ffi::OsString;
use std::io::ErrorKind::{ConnectionRefused, NotFound};
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NOTIFY: Need = Need::new("systemd-notify (systemd)", || finds("systemd-notify"));
const ACTIVATE: Need = Need::new("systemd-socket-activate (systemd)", || finds("systemd-socket-activate"));
const RUNSV: Need = Need::new("runsv and sv (runit)", || finds("runsv") && finds("sv"));
const SUPERVISE: Need = Need::new("supervise and svc (daemontools)", || finds("supervise") && finds("svc"));
const START_STOP: Need = Need::new("start-stop-daemon (dpkg)", || finds("start-stop-daemon"));

pub fn cases() -> Vec<Case> {
    [
        both!(&[];
            a_notifying_service_is_the_process_that_was_started,
            a_socket_is_passed_to_the_process_that_was_started,
            a_service_that_crashes_is_seen_and_started_again,
            a_service_that_is_told_to_end_leaves_served_survivors,
            a_killed_group_takes_its_tracer_with_it,
        ),
        both!(&[NOTIFY]; systemd_notify_speaks_for_the_command),
        both!(&[ACTIVATE]; systemd_socket_activate_hands_its_socket_over),
        both!(&[RUNSV]; runsv_starts_stops_and_restarts),
        both!(&[SUPERVISE]; supervise_starts_stops_and_restarts),
        both!(&[START_STOP]; start_stop_daemon_finds_what_it_started),
    ]
    .concat()
}

/// A supervisor's socket for messages of its service.
fn notify_socket() -> (UnixDatagram, PathBuf) {
    let path = stage().scratch("notify").join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    setsockopt(&socket, sockopt::PassCred, &true).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    (socket, path)
}

/// A message, and who the kernel says has sent it.
fn message(socket: &UnixDatagram) -> (String, i32) {
    let mut bytes = [0; 512];
    let mut control = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).unwrap();
    let sender = received.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
        _ => None,
    });
    let length = received.bytes;
    (String::from_utf8_lossy(&bytes[..length]).into_owned(), sender.unwrap())
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: no pointers; our own child, or its group.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn a_notifying_service_is_the_process_that_was_started(engine: Engine) {
    for mut command in [bare_guest("service"), engine.prefix().guest("service")] {
        let (socket, path) = notify_socket();
        let mut child = command.env("NOTIFY_SOCKET", path).spawn().unwrap();
        let own = pid(&child);
        assert_eq!(message(&socket), (format!("READY=1\nMAINPID={own}"), own));
        for _ in 0..3 {
            kill(own, libc::SIGUSR1);
            assert_eq!(message(&socket), ("WATCHDOG=1".to_owned(), own));
        }
        kill(own, libc::SIGTERM);
        assert_eq!(message(&socket), ("STOPPING=1".to_owned(), own));
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }
}

fn systemd_notify_speaks_for_the_command(engine: Engine) {
    let script = "systemd-notify --ready --pid=$$ --status='up'; exit 5";
    for mut command in [crate::common::run::bare_shell(script), engine.prefix().shell(script)] {
        let (socket, path) = notify_socket();
        let mut child = command.env("NOTIFY_SOCKET", path).spawn().unwrap();
        let own = pid(&child);
        let (text, sender) = message(&socket);
        assert!(text.contains("READY=1") && text.contains(&format!("MAINPID={own}")), "{text}");
        assert_eq!(sender, own, "{text}");
        // It waits until its second message, a descriptor, is closed.
        socket.recv(&mut [0; 64]).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }
}

/// Starts a service by the protocol of socket activation.
fn activated(words: &[OsString], listener: &UnixListener) -> Child {
    let mut command = bare("sh");
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh"]).args(words);
    command.arg(&stage().guest).args(["--guest", "service"]).env_remove("NOTIFY_SOCKET");
    let fd = listener.as_raw_fd();
    // SAFETY: both calls are allowed after a fork.
    unsafe {
        command.pre_exec(move || {
            let made = if fd == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(fd, 3) };
            if made == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        })
    };
    command.spawn().unwrap()
}

fn answer(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A socket's name is there before anybody listens.
fn as_soon_as_somebody_listens(path: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(matches!(error.kind(), NotFound | ConnectionRefused), "{error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn a_socket_is_passed_to_the_process_that_was_started(engine: Engine) {
    for words in [vec![], engine.prefix().words()] {
        let path = stage().scratch("activation").join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut child = activated(&words, &listener);
        // From here on only the service listens, and nobody after its end.
        drop(listener);
        assert_eq!(answer(UnixStream::connect(&path).unwrap()), format!("served by {}", child.id()));
        kill(pid(&child), libc::SIGTERM);
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert!(UnixStream::connect(&path).is_err(), "somebody still listens");
    }
}

fn systemd_socket_activate_hands_its_socket_over(engine: Engine) {
    for words in [vec![], engine.prefix().words()] {
        let path = stage().scratch("activation").join("socket");
        let mut command = bare("systemd-socket-activate");
        command.arg("-l").arg(&path).args(&words).arg(&stage().guest).args(["--guest", "service"]);
        command.env_remove("NOTIFY_SOCKET").stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let stream = as_soon_as_somebody_listens(&path);
        assert_eq!(answer(stream), format!("served by {}", child.id()));
        kill(pid(&child), libc::SIGTERM);
        assert_eq!(wait(child, "a service").status.code(), Some(3));
    }
}

fn a_service_that_crashes_is_seen_and_started_again(engine: Engine) {
    let prefix = engine.prefix();
    for _ in 0..5 {
        assert_eq!(signal_of(&finish(&mut prefix.guest("crash"))), Some(libc::SIGSEGV));
        let (socket, path) = notify_socket();
        let mut child = prefix.guest("service").env("NOTIFY_SOCKET", path).spawn().unwrap();
        assert_eq!(message(&socket).1, pid(&child));
        // As by a watchdog.
        kill(pid(&child), libc::SIGABRT);
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGABRT));
    }
}

/// systemd's KillMode=process.
fn a_service_that_is_told_to_end_leaves_served_survivors(engine: Engine) {
    let folder = stage().scratch("survivors");
    let (gate, report) = (folder.join("gate"), folder.join("report"));
    for fifo in [&gate, &report] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let script = "{ read word < \"$0\"; stat -f -c %t /dev/shm > \"$1\"; } < /dev/null > /dev/null 2>&1 & \
                  echo ready; exec sleep 1000";
    let mut command = engine.prefix().shell(script);
    command.arg(&gate).arg(&report).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    kill(pid(&child), libc::SIGTERM);
    assert_eq!(signal_of(&wait(child, "a service")), Some(libc::SIGTERM));
    std::fs::write(&gate, "go\n").unwrap();
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "ef53\n");
}

/// Ready to read when the process ends.
pub fn pidfd(pid: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
}

/// Waits until a process that is not our child has ended.
#[track_caller]
pub fn assert_ends(process: &OwnedFd, what: &str) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(60_000u16)), Ok(1), "{what} is still there");
}

fn a_killed_group_takes_its_tracer_with_it(engine: Engine) {
    // By the group, as shells do; by the session, as a login does.
    let script = "sh -c 'sleep 1000; :' & sleep 1000 & echo ready; sleep 1000; :";
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let mut command = engine.prefix().shell(script);
        // SAFETY: setsid is allowed after a fork.
        unsafe { command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?)) };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        let tracer = pidfd(tracer_of(child.id()).unwrap());
        kill(-pid(&child), signal);
        // The pipes end as well: all of the group are gone.
        assert_eq!(signal_of(&wait(child, "a group")), Some(signal));
        assert_ends(&tracer, "the tracer");
    }
}

/// A folder with a script `run`, which reports its id and dies the first time.
fn service_folder(words: &[OsString]) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = stage().scratch("service");
    nix::unistd::mkfifo(&folder.join("report"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let prefix = words.join(&OsString::from(" "));
    let inner = "echo \\\"\\$\\$ \\$(stat -f -c %t /dev/shm)\\\" > report; exec sleep 1000";
    let run = format!("#!/bin/sh\nexec {} sh -c \"{inner}\"\n", prefix.to_str().unwrap());
    std::fs::write(folder.join("run"), run).unwrap();
    std::fs::set_permissions(folder.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What the service reports: its id, and what it sees.
fn report(folder: &Path) -> (i32, String) {
    let text = std::fs::read_to_string(folder.join("report")).unwrap();
    let (id, magic) = text.trim().split_once(' ').unwrap();
    (id.parse().unwrap(), magic.to_owned())
}

/// A supervisor of the daemontools kind.
#[track_caller]
fn supervised(engine: Engine, supervisor: &str, tell: fn(&Path, &str) -> Command) {
    for (words, magic) in [(vec![], "1021994"), (engine.prefix().words(), "ef53")] {
        let folder = service_folder(&words);
        let mut supervisor = bare(supervisor);
        supervisor.arg(&folder).stdout(Stdio::null()).stderr(Stdio::null());
        let child = supervisor.spawn().unwrap();
        let (first, seen) = report(&folder);
        assert_eq!(seen, magic);
        let parent = format!("/proc/{first}/status");
        let parent = std::fs::read_to_string(parent).unwrap();
        assert!(parent.contains(&format!("PPid:\t{}\n", child.id())), "{parent}");
        // It crashes, and is there again.
        kill(first, libc::SIGSEGV);
        let (second, seen) = report(&folder);
        assert!(second != first && seen == magic);
        let process = pidfd(second);
        finish(&mut tell(&folder, "stop")).success();
        assert_ends(&process, "the service");
        finish(&mut tell(&folder, "exit")).success();
        assert!(wait(child, "a supervisor").status.success());
    }
}

fn runsv_starts_stops_and_restarts(engine: Engine) {
    supervised(engine, "runsv", |folder, what| {
        let mut command = bare("sv");
        command.args(["-w", "60", if what == "stop" { "force-stop" } else { "exit" }]).arg(folder);
        command
    });
}

fn supervise_starts_stops_and_restarts(engine: Engine) {
    supervised(engine, "supervise", |folder, what| {
        let mut command = bare("svc");
        command.arg(if what == "stop" { "-d" } else { "-x" }).arg(folder);
        command
    });
}

fn start_stop_daemon_finds_what_it_started(engine: Engine) {
    for (words, magic) in [(vec![], "1021994"), (engine.prefix().words(), "ef53")] {
        let folder = stage().scratch("daemon");
        let (pidfile, reported) = (folder.join("pid"), folder.join("report"));
        nix::unistd::mkfifo(&reported, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut all = words;
        let inner = "echo \"$$ $(stat -f -c %t /dev/shm)\" > \"$0\"; exec sleep 1000";
        all.extend(["/bin/sh", "-c", inner, reported.to_str().unwrap()].map(OsString::from));
        let mut start = bare("start-stop-daemon");
        start.args(["--start", "--background", "--make-pidfile", "--pidfile"]).arg(&pidfile);
        start.arg("--startas").arg(&all[0]).arg("--").args(&all[1..]);
        finish(&mut start).success();
        let (own, seen) = report(&folder);
        assert_eq!(
            (seen.as_str(), std::fs::read_to_string(&pidfile).unwrap().trim()),
            (magic, own.to_string().as_str())
        );
        let process = pidfd(own);
        let ask = |what: &[&str]| {
            let mut command = bare("start-stop-daemon");
            finish(command.args(what).arg("--pidfile").arg(&pidfile)).status.code()
        };
        assert_eq!(ask(&["--status"]), Some(0));
        assert_eq!(ask(&["--stop", "--retry", "60"]), Some(0));
        assert_ends(&process, "the daemon");
        assert_ne!(ask(&["--status"]), Some(0));
    }
}

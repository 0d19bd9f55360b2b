//! gVisor sandboxes with a root folder of their own: nothing of this machine is written to.

use super::needs::{Need, finds};
use super::run::{Done, Engine, wait};
use super::stage;
use serde_json::json;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which gVisor, and how it intercepts calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    Systrap,
    Ptrace,
    /// The one of December 2022.
    Old,
}

const TODAY: Need = Need::new("today's runsc (FSMASQ_RUNSC names it; cargo xtask test has one)", || {
    std::env::var_os("FSMASQ_RUNSC").is_some()
});
const OLD: Need =
    Need::new("the runsc of 2022 (FSMASQ_OLD_RUNSC names it; cargo xtask test has one)", || {
        std::env::var_os("FSMASQ_OLD_RUNSC").is_some()
    });
const ROOT_FOLDER: Need = Need::new("root, a static busybox and ldd", || {
    super::needs::ROOT.is_met() && finds("busybox") && finds("ldd")
});

impl Sandbox {
    pub const ALL: [Sandbox; 3] = [Sandbox::Systrap, Sandbox::Ptrace, Sandbox::Old];

    pub fn name(self) -> &'static str {
        match self {
            Sandbox::Systrap => "systrap",
            Sandbox::Ptrace => "ptrace",
            Sandbox::Old => "2022",
        }
    }

    pub fn needs(self) -> &'static [Need] {
        match self {
            Sandbox::Systrap | Sandbox::Ptrace => &[TODAY, ROOT_FOLDER],
            Sandbox::Old => &[OLD, ROOT_FOLDER],
        }
    }

    /// The launcher looks up there what a program ignores.
    pub fn needs_with_dispositions(self) -> &'static [Need] {
        const WHAT: &str = "a gVisor whose /proc/PID/status says which signals are ignored";
        const fn need(is_met: fn() -> bool) -> Need {
            Need::new(WHAT, is_met)
        }
        match self {
            Sandbox::Systrap => {
                const { &[TODAY, ROOT_FOLDER, need(|| Sandbox::Systrap.says_dispositions())] }
            }
            Sandbox::Ptrace => const { &[TODAY, ROOT_FOLDER, need(|| Sandbox::Ptrace.says_dispositions())] },
            Sandbox::Old => const { &[OLD, ROOT_FOLDER, need(|| Sandbox::Old.says_dispositions())] },
        }
    }

    fn says_dispositions(self) -> bool {
        self.shell("grep -q SigIgn /proc/self/status").status.success()
    }

    fn program(self) -> PathBuf {
        let variable = if self == Sandbox::Old { "FSMASQ_OLD_RUNSC" } else { "FSMASQ_RUNSC" };
        std::env::var_os(variable).unwrap().into()
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Sandbox::Systrap => &["--platform=systrap", "--overlay2=none"],
            Sandbox::Ptrace => &["--platform=ptrace", "--overlay2=none"],
            Sandbox::Old => &["--platform=ptrace"],
        }
    }

    /// Runs a command as the sandbox's PID 1. `/mnt` is a 9p mount of its own, of the returned folder.
    #[track_caller]
    pub fn run(self, words: &[&str]) -> (Done, PathBuf) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = stage().scratch("sandbox");
        let volume = folder.join("volume");
        for name in ["volume", "state", "logs"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let specification = specification(words, root_folder(), &volume);
        fs::write(folder.join("config.json"), specification.to_string()).unwrap();
        let name = format!("fsmasq-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let runsc = || {
            let mut command = Command::new(self.program());
            command.arg("--root").arg(folder.join("state")).args(self.options());
            command.args(["--network=none", "--ignore-cgroups", "--log"]).arg(folder.join("logs/runsc"));
            // It mounts; the other tests' tables must stay as they are.
            // SAFETY: unshare is allowed after a fork.
            unsafe { command.pre_exec(|| Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?)) };
            command
        };
        let _guard = Guard(Some(runsc()), name.clone());
        let mut command = runsc();
        command.args(["run", "-bundle"]).arg(&folder).arg(&name);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        (wait(child, &format!("{words:?} in {}", self.name())), volume)
    }

    #[track_caller]
    pub fn shell(self, script: &str) -> Done {
        self.run(&["sh", "-c", script]).0
    }

    /// Runs a guest bare and then below the prefix, in one sandbox.
    #[track_caller]
    pub fn bare_and_masked(self, engine: Engine, guest: &str, arguments: &str) -> [Done; 2] {
        let options = engine.option();
        let guest = format!("guest --guest {guest} {arguments}");
        let script = format!(
            "export RUST_BACKTRACE=0; cd /mnt; {guest} > bare.out 2> bare.err; echo $? > bare.status; \
             fsmasq --profile none {options} {guest} > masked.out 2> masked.err; echo $? > masked.status"
        );
        let (done, volume) = self.run(&["sh", "-c", &script]);
        done.success();
        ["bare", "masked"].map(|way| {
            let read = |what: &str| fs::read(volume.join(format!("{way}.{what}"))).unwrap();
            let status: i32 = String::from_utf8(read("status")).unwrap().trim().parse().unwrap();
            let status = std::process::ExitStatus::from_raw(status << 8);
            Done { stdout: read("out"), stderr: read("err"), status }
        })
    }
}

/// Takes away what a sandbox leaves where its test fails.
struct Guard(Option<Command>, String);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut command) = self.0.take() {
            command.args(["delete", "-force", &self.1]).stdout(Stdio::null()).stderr(Stdio::null());
            let _ = command.status();
        }
    }
}

/// An OCI runtime specification.
fn specification(words: &[&str], root: &Path, volume: &Path) -> serde_json::Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SYS_ADMIN",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
    ];
    let mount = |at: &str, fstype: &str| json!({"destination": at, "type": fstype, "source": fstype});
    json!({
        "ociVersion": "1.0.0",
        "hostname": "sandbox",
        "root": {"path": root},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": words,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/sys", "sysfs"), mount("/tmp", "tmpfs"),
            mount("/sys/fs/cgroup", "cgroup"),
            {"destination": "/mnt", "type": "bind", "source": volume, "options": ["rbind", "rw"]},
        ],
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
        ]},
    })
}

/// Busybox, the launcher, the guest, and the libraries that they need.
fn root_folder() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = stage().scratch("sandbox-root");
        for name in ["bin", "proc", "sys", "dev", "tmp", "mnt", "etc"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        for program in [&stage().launcher, &stage().guest] {
            fs::copy(program, root.join("bin").join(program.file_name().unwrap())).unwrap();
            let libraries = Command::new("ldd").arg(program).output().unwrap().stdout;
            for library in
                String::from_utf8_lossy(&libraries).split_whitespace().filter(|w| w.starts_with('/'))
            {
                let to = root.join(&library[1..]);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(library, to).unwrap();
            }
        }
        let busybox = root.join("bin/busybox");
        let found = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap().stdout;
        fs::copy(String::from_utf8(found).unwrap().trim(), busybox).unwrap();
        for name in [
            "sh", "cat", "dd", "wc", "stat", "readlink", "ls", "sleep", "grep", "true", "kill", "mount",
            "mkdir",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        root
    })
}

//! What runs below the prefix. Each run is a program with an answer that is known beforehand.

use super::THREADS_KIBIBYTES;
use crate::tools::repository;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What one run came to.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Right,
    Wrong(String),
}

/// A program and its check.
pub struct Worker {
    pub name: String,
    /// What this machine lacks for it.
    pub missing: Option<String>,
    pub run: Box<dyn Fn(u64) -> Verdict + Send + Sync>,
}

type Check = fn(&str) -> Result<(), String>;

const TABLE: &str = "/proc/self/mountinfo";
/// A file system that is shown as another one.
const TMPFS: &str = "/dev/shm";
/// For one run; nothing takes so long on a machine that is merely busy.
const PATIENCE: &str = "300";

/// All that run at the same time.
pub fn all() -> Vec<Worker> {
    let mut all = vec![
        shell(
            "shell: pipelines",
            "for i in 1 2 3; do cat /proc/self/mounts | sort | grep -c ' tmpfs '; done | sort -u; \
             x=$(stat -f -c %t /dev/shm); echo $x; (exit 3) || echo $?; df -T /dev/shm | awk 'NR==2{print $2}'",
            |text| is(text, "0\nef53\n3\next4\n"),
        ),
        shell(
            "shell: survivors",
            "for i in 1 2 3; do (sleep 0.$i; stat -f -c %t /dev/shm) & done; (setsid cat /proc/self/mounts &) | wc -l > /dev/null; echo first",
            |text| is(&sorted(text), "ef53\nef53\nef53\nfirst\n"),
        ),
        shell(
            "shell: kills",
            "exec 2> /dev/null; for i in 1 2 3 4 5 6; do while :; do cat /proc/self/mountinfo; done > /dev/null & sleep 0.0$i; kill -KILL $!; wait $!; echo $?; done",
            |text| is(text, &"137\n".repeat(6)),
        ),
        shell(
            "shell: stop and continue",
            "exec 2> /dev/null; while :; do cat /proc/self/mounts; done > /dev/null & for i in 1 2 3 4 5; do kill -STOP $!; sleep 0.01; kill -CONT $!; sleep 0.01; done; \
             kill $!; wait $!; echo $?",
            |text| is(text, "143\n"),
        ),
        guest("guest: children at once", &["fork-storm", TABLE], masked),
        guest("guest: children, programs, threads", &["storm-of-tasks", "100", TABLE], |t| {
            is(t, "100 of each\n")
        }),
        guest("guest: 64 threads", &["threads", "/proc/self/mounts"], masked),
        guest("guest: signals", &["signals", TABLE], masked),
        guest("guest: ignored signals", &["ignored-signals"], |t| is(t, "never interrupted\n")),
        guest("guest: exec in a thread", &["exec-in-thread", TABLE], masked),
        guest("guest: 300 threads", &["many-threads", "300", TABLE], |text| {
            if text.starts_with("6 looks\n") { Ok(()) } else { Err(text.to_owned()) }
        }),
        guest("guest: statfs again and again", &["statfs-often", "300", TMPFS], |_| Ok(())),
        seeded("guest: killed at random", "killed", &["20", TABLE], |t| is(t, "served\n")),
        seeded("guest: stopping each other", "stop-and-continue", &[TABLE], |t| is(t, "all through\n")),
    ];
    all.push(needing(
        &["unshare"],
        shell("namespaces", "unshare -pfm --mount-proc sh -c 'echo $$; cat /proc/self/mountinfo; mount -t tmpfs x /mnt; cat /proc/mounts'", |text| {
            text.strip_prefix("1\n").map_or_else(|| Err(text.to_owned()), masked)
        }),
    ));
    all.push(needing(
        &["unshare"],
        shell(
            "user namespaces",
            "unshare -Urpfm --mount-proc sh -c 'stat -f -c %t /dev/shm; cat /proc/self/mountinfo'",
            |text| text.strip_prefix("ef53\n").map_or_else(|| Err(text.to_owned()), masked),
        ),
    ));
    all.extend(languages());
    all
}

/// The programs of others' languages, written where the driver runs.
fn languages() -> Vec<Worker> {
    let folder = env::current_dir().unwrap_or_default();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map(|()| path.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let python = write(
        "soak.py",
        "import subprocess, threading\n\
         def look():\n\
         \x20   for _ in range(20): assert ' tmpfs ' not in open('/proc/self/mounts').read()\n\
         threads = [threading.Thread(target=look) for _ in range(8)]\n\
         [t.start() for t in threads]; [t.join() for t in threads]\n\
         print(subprocess.run(['stat', '-f', '-c', '%t', '/dev/shm'], capture_output=True, text=True).stdout, end='')\n\
         print(subprocess.run(['sh', '-c', 'kill -9 $$']).returncode)\n",
    );
    let node = write(
        "soak.js",
        "const fs = require('fs'), { execFileSync } = require('child_process');\n\
         const looks = Array.from({ length: 50 }, () => fs.promises.readFile('/proc/self/mounts', 'utf8'));\n\
         Promise.all(looks).then(all => {\n\
         \x20 console.log(all.filter(t => t.includes(' tmpfs ')).length, fs.statfsSync('/dev/shm').type.toString(16));\n\
         \x20 process.stdout.write(execFileSync('stat', ['-f', '-c', '%t', '/dev/shm']));\n});\n",
    );
    let java = write(
        "Soak.java",
        "import java.nio.file.*;\nimport java.util.*;\n\
         public class Soak { public static void main(String[] a) throws Exception {\n\
         \x20 List<Thread> all = new ArrayList<>(); int[] wrong = new int[1];\n\
         \x20 for (int i = 0; i < 16; i++) { Thread t = new Thread(() -> { try { for (int n = 0; n < 20; n++)\n\
         \x20   if (Files.readString(Path.of(\"/proc/self/mounts\")).contains(\" tmpfs \")) wrong[0]++;\n\
         \x20   } catch (Exception e) { wrong[0]++; } }); t.start(); all.add(t); }\n\
         \x20 for (Thread t : all) t.join();\n\
         \x20 System.out.println(wrong[0] + \" \" + Files.getFileStore(Path.of(\"/dev/shm\")).type()); } }\n",
    );
    vec![
        needing(&["python3"], program("Python", vec!["python3".into(), python], |t| is(t, "ef53\n-9\n"))),
        needing(&["node"], program("Node", vec!["node".into(), node], |t| is(t, "0 ef53\nef53\n"))),
        needing(&["java", "javac"], program("Java", vec!["java".into(), java], |t| is(t, "0 ext4\n"))),
        go(&folder),
    ]
}

/// The Go program of the tests: built when the soak starts, below the prefix like everything.
fn go(folder: &Path) -> Worker {
    let program_path = folder.join("reader");
    let source = repository().join("tests/guests/reader.go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program_path).arg(source).env("CGO_ENABLED", "0");
    let built = is_there("go") && build.stdin(Stdio::null()).status().is_ok_and(|status| status.success());
    let words = vec![program_path.to_string_lossy().into_owned(), TMPFS.into()];
    let mut worker = program("Go", words, |text| {
        text.strip_prefix("0xef53\n")
            .map_or_else(|| Err(text.to_owned()), |rest| if rest.is_empty() { Ok(()) } else { masked(rest) })
    });
    if !built {
        worker.missing = Some("go".into());
    }
    worker
}

/// Live threads, and what the tracer then takes.
pub fn many_threads() -> Worker {
    guest("5,000 live threads", &["many-threads", "5000", "/proc/self/mounts"], |text| {
        let kibibytes = text.split_whitespace().nth(3).and_then(|n| n.parse::<u64>().ok());
        match kibibytes {
            Some(1..=THREADS_KIBIBYTES) if text.starts_with("100 looks\n") => Ok(()),
            _ => Err(text.to_owned()),
        }
    })
}

fn guest(name: &str, words: &[&str], check: Check) -> Worker {
    let mut all = guest_words();
    all.extend(words.iter().map(|word| (*word).to_owned()));
    program(name, all, check)
}

/// With the number of the run as its first argument.
fn seeded(name: &str, guest: &str, rest: &[&str], check: Check) -> Worker {
    let (guest, rest) = (guest.to_owned(), rest.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    Worker {
        name: name.to_owned(),
        missing: None,
        run: Box::new(move |run| {
            let words = [guest_words(), vec![guest.clone(), run.to_string()], rest.clone()].concat();
            judged(&words, check)
        }),
    }
}

fn guest_words() -> Vec<String> {
    let guest = env::var("FSMASQ_SOAK_GUEST").unwrap_or_default();
    vec![guest, "--guest".into()]
}

fn shell(name: &str, script: &str, check: Check) -> Worker {
    program(name, vec!["sh".into(), "-c".into(), script.into()], check)
}

fn program(name: &str, words: Vec<String>, check: Check) -> Worker {
    Worker { name: name.to_owned(), missing: None, run: Box::new(move |_| judged(&words, check)) }
}

fn needing(programs: &[&str], mut worker: Worker) -> Worker {
    worker.missing = programs.iter().find(|name| !is_there(name)).map(|name| (*name).to_owned());
    worker
}

fn is_there(program: &str) -> bool {
    let is_file = |folder: PathBuf| folder.join(program).is_file();
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(is_file))
}

fn judged(words: &[String], check: Check) -> Verdict {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", PATIENCE]).args(words).stdin(Stdio::null());
    let Output { status, stdout, stderr } = match command.output() {
        Ok(output) => output,
        Err(error) => return Verdict::Wrong(error.to_string()),
    };
    let errors = String::from_utf8_lossy(&stderr);
    if !status.success() || !errors.is_empty() {
        return Verdict::Wrong(format!("{status}; {}", shortened(&errors)));
    }
    match check(&String::from_utf8_lossy(&stdout)) {
        Ok(()) => Verdict::Right,
        Err(text) => Verdict::Wrong(shortened(&text)),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect::<String>().replace('\n', "⏎")
}

/// Whoever comes first, comes first.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn is(text: &str, expected: &str) -> Result<(), String> {
    if text == expected { Ok(()) } else { Err(text.to_owned()) }
}

/// A mount table in which what was to be masked is masked, and nothing is missing.
fn masked(text: &str) -> Result<(), String> {
    let types = |name: &str| text.lines().filter(|line| line.split(' ').any(|word| word == name)).count();
    let unmasked =
        text.lines().find(|line| line.contains(" - tmpfs ") || line.split(' ').nth(2) == Some("tmpfs"));
    match unmasked {
        Some(line) => Err(format!("not masked: {line}")),
        None if types("ext4") == 0 || types("proc") == 0 => Err(format!("no table: {text}")),
        None => Ok(()),
    }
}

/// Waits for what workers left behind: all of it ends by itself.
pub fn wait_until_alone() {
    let deadline = Instant::now() + Duration::from_secs(60);
    while others() > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
}

/// Processes with this process's tracer, but itself.
fn others() -> usize {
    let line = |path: PathBuf| {
        let status = fs::read_to_string(path).ok()?;
        status.lines().find(|line| line.starts_with("TracerPid:")).map(str::to_owned)
    };
    let own = line(PathBuf::from("/proc/self/status"));
    let Ok(folder) = fs::read_dir("/proc") else { return 0 };
    let same = folder.flatten().filter(|entry| {
        entry.file_name().to_string_lossy().parse::<u32>().is_ok_and(|pid| pid != std::process::id())
            && line(entry.path().join("status")) == own
    });
    same.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_judged_by_its_types() {
        assert!(masked("1 2 0:3 / /dev/shm rw - ext4 tmpfs rw\n1 2 0:4 / /proc rw - proc proc rw\n").is_ok());
        assert!(masked("1 2 0:3 / /dev/shm rw - tmpfs tmpfs rw\n").is_err());
        assert!(masked("").is_err());
    }
}

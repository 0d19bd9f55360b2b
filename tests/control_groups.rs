//! A control group with the command, all that it started, and the tracer: whatever is done to the group as a
//! whole, nobody is left or hangs.

use crate::common::needs::Need;
use crate::common::run::{Done, signal_of, tracer_of, wait};
use crate::common::{Case, Engine, bare, both, stage};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const VERSION_2: Need =
    Need::new("a control group of version 2 that may be made", || Group::version_2().is_some());
const KILL: Need = Need::new("cgroup.kill (Linux 5.14)", || {
    Group::version_2().is_some_and(|group| group.folder.join("cgroup.kill").exists())
});
const MEMORY: Need =
    Need::new("a control group with the memory controller that may be made", || Group::memory().is_some());

pub fn cases() -> Vec<Case> {
    [
        both!(&[VERSION_2];
            all_of_a_group_end_when_each_is_told_to,
            all_of_a_group_end_when_each_is_killed,
            a_group_goes_on_after_it_was_frozen,
        ),
        both!(&[VERSION_2, KILL]; all_of_a_group_end_when_it_is_killed_as_a_whole),
        both!(&[MEMORY]; out_of_memory_ends_the_guilty_and_not_the_tracer),
    ]
    .concat()
}

/// A group for a test; removed with it.
struct Group {
    folder: PathBuf,
}

impl Group {
    fn make(parent: &Path) -> Option<Group> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("fsmasq-test-{}-{count}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        Some(Group { folder })
    }

    /// Where a hierarchy is mounted that `is_wanted` by the type and the options.
    fn mounted(is_wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
        // The stage has names that are no text.
        let mounts = fs::read("/proc/self/mounts").ok()?;
        String::from_utf8_lossy(&mounts).lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            is_wanted(words[2], words[3]).then(|| PathBuf::from(words[1]))
        })
    }

    /// Below the group that the tests run in, where that is seen.
    fn version_2() -> Option<Group> {
        let root = Group::mounted(|fstype, _| fstype == "cgroup2")?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Group::make(&root.join(own)).or_else(|| Group::make(&root))
    }

    /// Of version 1: version 2 wants its controllers handed down by a group without processes.
    fn memory() -> Option<Group> {
        let root =
            Group::mounted(|kind, options| kind == "cgroup" && options.split(',').any(|o| o == "memory"))?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.split_once(":memory:/"))?.1;
        Group::make(&root.join(own)).or_else(|| Group::make(&root))
    }

    /// Starts a script in the group, and waits until it has said `ready`.
    fn start(&self, words: &[OsString], script: &str) -> Child {
        let mut command = bare("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.folder.join("cgroup.procs"));
        command.args(words).args(["sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        child
    }

    fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Waits until the group's events say so.
    #[track_caller]
    fn until(&self, event: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(self.folder.join("cgroup.events"))
            .unwrap()
            .lines()
            .any(|line| line == event)
        {
            assert!(Instant::now() < deadline, "no {event}: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What a failed test leaves.
        let _ = fs::write(self.folder.join("cgroup.freeze"), "0");
        let _ = fs::write(self.folder.join("cgroup.kill"), "1");
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.folder).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: no pointers; processes of a group of ours. Some may have ended already.
    unsafe { libc::kill(pid, signal) };
}

/// Children of all kinds, and then the script's own `rest`.
fn script(rest: &str) -> String {
    format!(
        "sleep 1000 & setsid sh -c 'sleep 1000; :' & sh -c 'trap \"\" TERM; echo ready; sleep 1000; sleep 1000' & {rest}"
    )
}

#[track_caller]
fn ended(group: &Group, child: Child) -> Done {
    let done = wait(child, "all of a group");
    group.until("populated 0");
    assert_eq!(group.processes(), [] as [i32; 0]);
    done
}

fn all_of_a_group_end_when_each_is_told_to(engine: Engine) {
    let group = Group::version_2().unwrap();
    let script = "sleep 1000 & setsid sleep 1000 & trap 'exit 3' TERM; echo ready; wait; wait";
    let child = group.start(&engine.prefix().words(), script);
    let tracer = tracer_of(child.id()).unwrap();
    assert!(group.processes().contains(&tracer), "the tracer is in the group, too");
    // As systemd does it: to everybody, the tracer first.
    for pid in [tracer].into_iter().chain(group.processes()) {
        kill(pid, libc::SIGTERM);
    }
    assert_eq!(ended(&group, child).status.code(), Some(3));
}

fn all_of_a_group_end_when_each_is_killed(engine: Engine) {
    for backwards in [false, true] {
        let group = Group::version_2().unwrap();
        let child = group.start(&engine.prefix().words(), &script("wait"));
        let mut all = group.processes();
        if backwards {
            all.reverse();
        }
        all.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
        assert_eq!(signal_of(&ended(&group, child)), Some(libc::SIGKILL));
    }
}

fn all_of_a_group_end_when_it_is_killed_as_a_whole(engine: Engine) {
    let group = Group::version_2().unwrap();
    let child = group.start(&engine.prefix().words(), &script("kill -STOP $$"));
    fs::write(group.folder.join("cgroup.kill"), "1").unwrap();
    assert_eq!(signal_of(&ended(&group, child)), Some(libc::SIGKILL));
}

fn a_group_goes_on_after_it_was_frozen(engine: Engine) {
    for words in [vec![], engine.prefix().words()] {
        let group = Group::version_2().unwrap();
        let child = group.start(&words, "sleep 0.01 & echo ready; read word; stat -f -c %t /dev/shm; exit 6");
        for _ in 0..3 {
            fs::write(group.folder.join("cgroup.freeze"), "1").unwrap();
            group.until("frozen 1");
            fs::write(group.folder.join("cgroup.freeze"), "0").unwrap();
            group.until("frozen 0");
        }
        let magic = if words.is_empty() { "1021994\n" } else { "ef53\n" };
        let mut child = child;
        drop(child.stdin.take());
        let done = ended(&group, child);
        assert_eq!((done.text().as_str(), done.status.code()), (magic, Some(6)));
    }
}

fn out_of_memory_ends_the_guilty_and_not_the_tracer(engine: Engine) {
    let guest = stage().guest.to_str().unwrap();
    let script = format!("echo ready; '{guest}' --guest hog; echo \"$? $(stat -f -c %t /dev/shm)\"");
    for (words, magic) in [(vec![], "1021994"), (engine.prefix().words(), "ef53")] {
        let group = Group::memory().unwrap();
        fs::write(group.folder.join("memory.limit_in_bytes"), "64M").unwrap();
        let child = group.start(&words, &script);
        let text = wait(child, "a group that is out of memory").text();
        assert_eq!(text, format!("137 {magic}\n"));
        // The tracer follows its last task.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !group.processes().is_empty() {
            assert!(Instant::now() < deadline, "{:?} is left", group.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

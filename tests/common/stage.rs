//! Where the tests play: a tmpfs in a mount namespace of their own, with mount points of every kind.
//! Nothing of it is seen by, or left to, the machine.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Enough for a table far beyond one page, and beyond the 64 KiB that programs like to read at once.
const MANY_MOUNTS: usize = 800;

/// Mount points that a table escapes: blanks, newlines, tabs, backslashes, and other bytes.
pub const ODD_NAMES: [&[u8]; 6] =
    [b"a b - tmpfs c", b"new\nline", b"tab\there", b"back\\slash\\040", b"#hash", b"not\xffutf8"];

/// The stage.
#[derive(Debug)]
pub struct Stage {
    /// On a tmpfs.
    pub folder: PathBuf,
    /// Whether there are mounts: for root only.
    pub has_mounts: bool,
    /// The launcher and this program as the guest, where every user can execute them.
    pub launcher: PathBuf,
    pub guest: PathBuf,
}

static STAGE: OnceLock<Stage> = OnceLock::new();

pub fn stage() -> &'static Stage {
    STAGE.get().unwrap()
}

impl Stage {
    /// A tmpfs that nobody writes to, so that its figures stay.
    pub fn quiet(&self) -> PathBuf {
        self.folder.join("quiet")
    }

    /// A folder for one test's files.
    pub fn scratch(&self, name: &str) -> PathBuf {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.folder.join("scratch").join(format!("{name}-{count}"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        path
    }
}

/// Builds the stage; to be called while the process has one thread. The folder is removed when the
/// returned guard is dropped.
pub fn set_up() -> tempfile::TempDir {
    let has_mounts = unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .is_ok();
    let parent = if has_mounts { std::env::temp_dir() } else { PathBuf::from("/dev/shm") };
    let guard = tempfile::Builder::new().prefix("fsmasq-test-").tempdir_in(parent).unwrap();
    let folder = guard.path().to_owned();
    if has_mounts {
        leave_out_what_may_go();
        tmpfs("stage", &folder);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["quiet", "scratch", "bin", "root", "root/proc"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::set_permissions(folder.join("scratch"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(folder.join("quiet/file"), "x").unwrap();
    if has_mounts {
        mount_all(&folder);
    }
    let launcher = folder.join("bin/fsmasq");
    let guest = folder.join("bin/guest");
    fs::copy(env!("CARGO_BIN_EXE_fsmasq"), &launcher).unwrap();
    fs::copy(std::env::current_exe().unwrap(), &guest).unwrap();
    STAGE.set(Stage { folder, has_mounts, launcher, guest }).unwrap();
    guard
}

/// Mounts of namespaces belong to programs that run at the same time. When those remove the folder below one,
/// it goes from every table, and a comparison would fail. Nobody else sees that it is unmounted here.
fn leave_out_what_may_go() {
    let table = fs::read("/proc/self/mounts").unwrap();
    for line in String::from_utf8_lossy(&table).lines() {
        let mut words = line.split(' ').skip(1);
        if let (Some(at), Some("nsfs")) = (words.next(), words.next()) {
            let _ = umount2(at, MntFlags::MNT_DETACH);
        }
    }
}

fn mount_all(folder: &Path) {
    tmpfs("quiet", &folder.join("quiet"));
    fs::write(folder.join("quiet/file"), "x").unwrap();
    for name in ["none-a", "none-b"] {
        fs::create_dir(folder.join(name)).unwrap();
        tmpfs("none", &folder.join(name));
    }
    fs::create_dir(folder.join("none-a-again")).unwrap();
    let bind = MsFlags::MS_BIND;
    mount(Some(&folder.join("none-a")), &folder.join("none-a-again"), None::<&str>, bind, None::<&str>)
        .unwrap();
    mount(Some("proc"), &folder.join("root/proc"), Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
    for name in ODD_NAMES {
        let path = folder.join(OsStr::from_bytes(name));
        fs::create_dir(&path).unwrap();
        tmpfs("odd source", &path);
    }
    fs::create_dir(folder.join("many")).unwrap();
    for number in 0..MANY_MOUNTS {
        let path = folder.join(format!("many/{number}"));
        fs::create_dir(&path).unwrap();
        tmpfs("many", &path);
    }
}

fn tmpfs(source: &str, at: &Path) {
    mount(Some(source), at, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
}

/// Takes the stage's mounts away, so that the folder can be removed.
pub fn take_down(guard: tempfile::TempDir) {
    if stage().has_mounts {
        let _ = umount2(guard.path(), MntFlags::MNT_DETACH);
    }
    drop(guard);
}

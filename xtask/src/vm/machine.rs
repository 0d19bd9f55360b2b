//! A machine emulated by QEMU: Debian's kernel, a first file system with the modules that 9p needs, and shares.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cluster::bundle::Bundle;
use crate::cluster::sandbox::interrupted;
use crate::cluster::setup::find_on_path;
use crate::tools::{Cache, last_lines, repository, run};

/// In the order in which they can be loaded.
const MODULES: &[&str] = &[
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_ring",
    "virtio",
    "virtio_pci",
    "netfs",
    "fscache",
    "9pnet",
    "9pnet_virtio",
    "9p",
    "overlay",
    "llc",
    "stp",
    "bridge",
    "veth",
];

/// A machine with two processors and this many MiB runs a node and three pods.
const MEBIBYTES: &str = "3072";
const PAUSE: Duration = Duration::from_millis(200);
/// How long a machine that makes use of the processor's own virtualization may take until its first process runs.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// What `init` says first.
const GREETING: &str = "the first process runs";

/// A directory of this machine that is mounted in the other one.
struct Share {
    tag: &'static str,
    folder: PathBuf,
    /// From the node's root.
    place: &'static str,
    /// Whether the other machine may keep what it has read.
    cached: bool,
}

pub struct Machine<'a> {
    bundle: &'a Bundle<'a>,
    kernel: PathBuf,
    shares: Vec<Share>,
    acceleration: Acceleration,
}

/// How the machine's processors are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Acceleration {
    Kvm,
    Emulation,
}

impl<'a> Machine<'a> {
    /// `checked`: whether the node's own checks are run when it is Ready.
    ///
    /// `acceleration` is found out where it is not known yet.
    pub fn assemble(
        bundle: &'a Bundle,
        checked: bool,
        acceleration: &mut Option<Acceleration>,
    ) -> Result<Self> {
        let cache = Cache::open()?;
        cache.debian(&["qemu-system-x86"])?;
        let kernel = cache.kernel()?;
        let folder = bundle.folder();
        let mut shares = vec![Share { tag: "root", folder: folder.join("root"), place: "/", cached: true }];
        for (tag, place) in bundle.setup().volumes() {
            shares.push(Share { tag, folder: folder.join("volumes").join(tag), place, cached: true });
        }
        shares.push(Share { tag: "out", folder: folder.to_owned(), place: "/out", cached: false });

        let root = folder.join("root");
        fs::create_dir_all(root.join("out"))?;
        fs::copy(repository().join("tests/vm/node.sh"), root.join("usr/local/lib/vm-node.sh"))?;
        fs::write(folder.join("command"), format!("exec {}\n", bundle.setup().command().join(" ")))?;
        let device = shares.iter().find(|share| share.tag == "kubelet").map_or("root", |share| share.tag);
        fs::write(folder.join("device"), device)?;
        if checked {
            File::create(folder.join("check"))?;
        }
        first_files(folder, &kernel, &shares).context("assembling the machine's first files")?;
        let mut machine = Self {
            bundle,
            kernel: file_of(&kernel.join("boot"), "vmlinuz-")?,
            shares,
            acceleration: Acceleration::Kvm,
        };
        let probe = || if machine.kvm_works() { Acceleration::Kvm } else { Acceleration::Emulation };
        machine.acceleration = *acceleration.get_or_insert_with(probe);
        Ok(machine)
    }

    pub fn acceleration(&self) -> &'static str {
        match self.acceleration {
            Acceleration::Kvm => "KVM",
            Acceleration::Emulation => "emulated, as KVM can't be used here",
        }
    }

    /// Runs the machine until it powers itself off; what it said of its end.
    pub fn run(&self, limit: Duration) -> Result<String> {
        let mut guard = Guard(self.start(self.acceleration)?);
        let started = Instant::now();
        while guard.0.try_wait()?.is_none() {
            if interrupted() {
                bail!("interrupted");
            }
            if started.elapsed() > limit {
                bail!("it still runs after {} s; {}", limit.as_secs(), self.last_words());
            }
            sleep(PAUSE);
        }
        let status = fs::read_to_string(self.bundle.folder().join("status"));
        Ok(status.with_context(|| self.last_words())?.trim().to_owned())
    }

    /// It may be there and stand still (in a machine that is virtual itself), which only trying tells.
    fn kvm_works(&self) -> bool {
        if !Path::new("/dev/kvm").exists() {
            return false;
        }
        let Ok(child) = self.start(Acceleration::Kvm) else { return false };
        let mut guard = Guard(child);
        let started = Instant::now();
        while started.elapsed() < PROBE_LIMIT && matches!(guard.0.try_wait(), Ok(None)) {
            if fs::read_to_string(self.console()).is_ok_and(|said| said.contains(GREETING)) {
                return true;
            }
            sleep(PAUSE);
        }
        false
    }

    fn start(&self, acceleration: Acceleration) -> Result<Child> {
        let console = File::create(self.console())?;
        let mut command = Command::new("qemu-system-x86_64");
        match acceleration {
            Acceleration::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
            // Kernels of that age don't start on an emulated processor with five levels of page tables.
            Acceleration::Emulation => command.args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]),
        };
        command.args(["-m", MEBIBYTES, "-smp", "2", "-nographic", "-no-reboot", "-nic", "none"]);
        command.arg("-kernel").arg(&self.kernel);
        command.arg("-initrd").arg(self.bundle.folder().join("initrd"));
        command.args(["-append", "console=ttyS0 panic=-1 mitigations=off no_timer_check quiet"]);
        for share in &self.shares {
            let (tag, folder) = (share.tag, share.folder.display());
            command.args([
                "-fsdev",
                &format!("local,id={tag},path={folder},security_model=passthrough,multidevs=remap"),
            ]);
            command.args(["-device", &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}")]);
        }
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        command.spawn().with_context(|| format!("starting {command:?}"))
    }

    fn console(&self) -> PathBuf {
        self.bundle.folder().join("console.log")
    }

    fn last_words(&self) -> String {
        let console = fs::read(self.console()).unwrap_or_default();
        format!("the end of its console:\n{}", last_lines(&String::from_utf8_lossy(&console), 15))
    }
}

/// Ends a machine that still runs.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first file system: busybox, the modules, and what `init` needs to know.
fn first_files(folder: &Path, kernel: &Path, shares: &[Share]) -> Result<()> {
    let first = folder.join("first");
    for name in ["bin", "proc", "root", "modules"] {
        fs::create_dir_all(first.join(name))?;
    }
    let busybox = find_on_path("busybox").context("busybox is not on PATH; the package is busybox-static")?;
    fs::copy(&busybox, first.join("bin/busybox"))?;
    for applet in ["sh", "mount", "insmod", "switch_root"] {
        symlink("busybox", first.join("bin").join(applet))?;
    }
    fs::copy(repository().join("tests/vm/init.sh"), first.join("init"))?;
    let mut order = String::new();
    for name in MODULES {
        let found = find_file(&kernel.join("lib/modules"), &format!("{name}.ko"))?;
        let found = found.with_context(|| format!("the kernel has no module {name}"))?;
        fs::copy(found, first.join("modules").join(format!("{name}.ko")))?;
        order.push_str(&format!("{name}.ko\n"));
    }
    fs::write(first.join("order"), order)?;
    let line = |share: &Share| {
        format!("{} {} {}\n", share.tag, share.place, if share.cached { "loose" } else { "none" })
    };
    fs::write(first.join("shares"), shares.iter().map(line).collect::<String>())?;
    let pack = "cd \"$1\" && find . | busybox cpio -o -H newc > ../initrd";
    run(Command::new("sh").args(["-c", pack, "sh"]).arg(&first)).map(drop)
}

fn file_of(folder: &Path, beginning: &str) -> Result<PathBuf> {
    let mut files = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    files
        .find_map(|entry| {
            Some(entry.ok()?.path()).filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning))
            })
        })
        .with_context(|| format!("{} has no {beginning}…", folder.display()))
}

fn find_file(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = find_file(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|found| found == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

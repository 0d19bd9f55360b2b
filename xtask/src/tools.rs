//! The programs that tests, benches and the cluster need beside the launcher: fetched or built once, kept in a cache
//! folder, built again when what they are made of has changed.

mod debian;
mod go;
mod steps;

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

pub use steps::step;

/// lurk's version.
const LURK: &str = "0.3.14";

/// The cache folder: `$FSMASQ_CACHE`, or `fsmasq` in the user's cache directory. It survives between runs.
pub struct Cache {
    root: PathBuf,
}

/// containerd and what it starts, in one folder.
pub struct Containerd {
    pub daemon: PathBuf,
    pub shim: PathBuf,
    pub ctr: PathBuf,
}

impl Cache {
    pub fn open() -> Result<Self> {
        let root = if let Some(given) = env::var_os("FSMASQ_CACHE") {
            PathBuf::from(given)
        } else if let Some(user) = env::var_os("XDG_CACHE_HOME") {
            Path::new(&user).join("fsmasq")
        } else if let Some(home) = env::var_os("HOME") {
            Path::new(&home).join(".cache/fsmasq")
        } else {
            bail!(
                "no place for a cache: set FSMASQ_CACHE to a folder (XDG_CACHE_HOME and HOME are not set either)"
            );
        };
        fs::create_dir_all(&root).with_context(|| {
            format!("making the cache folder {}; FSMASQ_CACHE can name another", root.display())
        })?;
        Ok(Self { root })
    }

    /// gVisor of today.
    pub fn runsc(&self) -> Result<PathBuf> {
        go::build(self, &go::RUNSC).map(|folder| folder.join("runsc"))
    }

    /// gVisor of December 2022, as Debian 12 has it.
    pub fn old_runsc(&self) -> Result<PathBuf> {
        debian::unpack(self, "runsc").map(|folder| folder.join("usr/bin/runsc"))
    }

    /// A tracer to be compared with, from its crate.
    pub fn lurk(&self) -> Result<PathBuf> {
        let folder = self.root.join(format!("lurk-{LURK}"));
        let program = folder.join("bin/lurk");
        if !program.exists() {
            step("lurk: cargo install", || {
                let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo.args(["install", "--quiet", "--locked", "lurk-cli", "--version", LURK, "--root"]);
                run(cargo.arg(&folder).env("CARGO_TARGET_DIR", folder.join("target")))?;
                fs::remove_dir_all(folder.join("target")).context("removing what was built on the way")
            })?;
        }
        Ok(program)
    }

    pub fn containerd(&self) -> Result<Containerd> {
        let folder = go::build(self, &go::CONTAINERD)?;
        Ok(Containerd {
            daemon: folder.join("containerd"),
            shim: folder.join("containerd-shim-runc-v2"),
            ctr: folder.join("ctr"),
        })
    }

    /// runc, linked statically: a sandbox needs no libraries for it.
    pub fn runc(&self) -> Result<PathBuf> {
        self.debian(&["libseccomp-dev", "gcc", "libc6-dev", "pkg-config"])?;
        go::build(self, &go::RUNC).map(|folder| folder.join("runc"))
    }

    /// The CNI plugin that hands out addresses.
    pub fn host_local(&self) -> Result<PathBuf> {
        go::build(self, &go::CNI).map(|folder| folder.join("host-local"))
    }

    /// What serves `kubectl top` and autoscalers; it runs in a pod.
    pub fn metrics_server(&self) -> Result<PathBuf> {
        go::build(self, &go::METRICS_SERVER).map(|folder| folder.join("metrics-server"))
    }

    /// The cluster's DNS server, with the plugins that a cluster needs.
    pub fn coredns(&self) -> Result<PathBuf> {
        go::build(self, &go::COREDNS).map(|folder| folder.join("coredns"))
    }

    /// What applies charts.
    pub fn helm(&self) -> Result<PathBuf> {
        go::build(self, &go::HELM).map(|folder| folder.join("helm"))
    }

    /// examples/service-proxy.
    pub fn service_proxy(&self) -> Result<PathBuf> {
        go::build(self, &go::SERVICE_PROXY).map(|folder| folder.join("service-proxy"))
    }

    /// The Kubernetes node of tests/cluster/node, which is kubectl, too.
    pub fn node(&self) -> Result<PathBuf> {
        go::build(self, &go::NODE).map(|folder| folder.join("node"))
    }

    /// A Debian kernel that has 9p, unpacked: `boot` and `lib/modules`.
    pub fn kernel(&self) -> Result<PathBuf> {
        // What this package depends on is the kernel itself, whose name has its version.
        debian::unpack(self, &debian::dependency("linux-image-amd64", "linux-image-")?)
    }

    /// Installs those of the Debian packages that are missing.
    pub fn debian(&self, packages: &[&str]) -> Result<()> {
        debian::install(packages)
    }

    /// Only one process fills the cache at a time; the lock ends with the returned file.
    fn lock(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        file.lock().with_context(|| format!("locking {}", path.display()))?;
        Ok(file)
    }
}

/// The repository's root: xtask is always run from its own checkout.
pub fn repository() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Builds the launcher with optimization, and says where it is.
pub fn launcher() -> Result<PathBuf> {
    let words = ["build", "--release", "--package=fsmasq", "--bin=fsmasq"];
    executable("launcher: cargo build --release", &words, "fsmasq")
}

/// Where cargo has put the program `target` that these words make it build.
pub fn executable(what: &str, words: &[&str], target: &str) -> Result<PathBuf> {
    let output = step(what, || {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let format = "--message-format=json-render-diagnostics";
        run(Command::new(cargo).current_dir(repository()).args(words).arg(format))
    })?;
    // One JSON object a line; that of the program itself names the file.
    String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built {target}, but named no executable"))
}

/// Runs a command to its end and returns its standard output; the error has what it said.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {shown}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("{shown} failed ({}):\n{}", output.status, last_lines(&String::from_utf8_lossy(&said), 30));
}

/// The end of a text, for a message.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

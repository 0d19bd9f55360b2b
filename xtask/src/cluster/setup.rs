//! What is run: the ways in which one cluster run differs from another, and the programs that each needs.

use std::env;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::tools::{self, Cache, Containerd};

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Cgroup {
    V1,
    V2,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// This repository's node, tests/cluster/node.
    Node,
    /// k3s itself, from PATH.
    K3s,
}

pub struct Setup {
    pub cgroup: Cgroup,
    /// The kubelet's and containerd's directories are 9p mounts of their own.
    pub own_mounts: bool,
    /// fsmasq in front, with these options; or nothing.
    pub prefix: Option<Vec<String>>,
    /// What the sandbox lacks is made by hand first (bare-node.sh).
    pub prepared: bool,
    pub workload: Workload,
}

impl Setup {
    /// The directories that get mounts of their own: a short name, and the place in the sandbox.
    pub fn volumes(&self) -> &'static [(&'static str, &'static str)] {
        match (self.own_mounts, self.workload) {
            (false, _) => &[],
            (true, Workload::Node) => {
                &[("kubelet", "/var/lib/kubelet"), ("containerd", "/var/lib/containerd")]
            }
            (true, Workload::K3s) => &[("kubelet", "/var/lib/kubelet"), ("k3s", "/var/lib/rancher")],
        }
    }

    /// What the sandbox's first process is.
    pub fn command(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        if let Some(options) = &self.prefix {
            words.push("fsmasq".into());
            words.extend(options.iter().cloned());
            words.push("--".into());
        }
        if self.prepared {
            words.extend(["sh", "/usr/local/lib/bare-node.sh"].map(String::from));
        }
        let workload: &[&str] = match self.workload {
            Workload::Node => &["node", "server"],
            Workload::K3s => &["sh", "/usr/local/lib/k3s-node.sh"],
        };
        words.extend(workload.iter().map(|word| (*word).to_owned()));
        words
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cgroup = match self.cgroup {
            Cgroup::V1 => "cgroup v1",
            Cgroup::V2 => "cgroup v2",
        };
        let mounts = if self.own_mounts { "9p mounts of their own" } else { "one 9p root" };
        let prefix = match (&self.prefix, self.prepared) {
            (Some(_), _) => "below fsmasq",
            (None, false) => "bare",
            (None, true) => "bare, prepared by hand",
        };
        write!(f, "{cgroup}, {mounts}, {prefix}")
    }
}

/// Where the programs are that go into the sandbox, and runsc.
pub struct Programs {
    pub runsc: PathBuf,
    pub launcher: PathBuf,
    pub node: PathBuf,
    pub containerd: Containerd,
    pub runc: PathBuf,
    pub host_local: PathBuf,
    /// Where the checks need it; k3s has its own.
    pub metrics_server: Option<PathBuf>,
    /// Where the checks need them, as above.
    pub services: Option<Services>,
    pub k3s: Option<PathBuf>,
}

/// What makes Services usable, addresses and names; and what is tried with them.
pub struct Services {
    pub proxy: PathBuf,
    pub dns: PathBuf,
    pub helm: PathBuf,
}

impl Programs {
    pub fn get(setup: &Setup) -> Result<Self> {
        let k3s = match setup.workload {
            Workload::Node => None,
            Workload::K3s => Some(find_on_path("k3s").context(
                "--k3s runs the k3s that is on PATH, and there is none: put the release's single binary there, \
                 or leave the option out to run this repository's node",
            )?),
        };
        let cache = Cache::open()?;
        cache.debian(&["busybox-static", "iproute2"])?;
        Ok(Self {
            launcher: tools::launcher()?,
            runsc: cache.runsc()?,
            containerd: cache.containerd()?,
            runc: cache.runc()?,
            host_local: cache.host_local()?,
            node: cache.node()?,
            services: if setup.prefix.is_some() && setup.workload == Workload::Node {
                Some(Services { proxy: cache.service_proxy()?, dns: cache.coredns()?, helm: cache.helm()? })
            } else {
                None
            },
            metrics_server: if setup.prefix.is_some() && setup.workload == Workload::Node {
                Some(cache.metrics_server()?)
            } else {
                None
            },
            k3s,
        })
    }
}

pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // A user's PATH may lack the directories of the superuser.
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

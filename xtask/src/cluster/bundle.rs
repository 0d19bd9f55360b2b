//! The OCI bundle of the sandbox: a root directory with little more than busybox and the programs of the node.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::scratch::Scratch;
use super::setup::{Programs, Setup, Workload, find_on_path};
use super::spec;
use crate::tools::{repository, run};

pub struct Bundle<'a> {
    folder: PathBuf,
    programs: &'a Programs,
    setup: &'a Setup,
}

/// Mount points and what the programs expect to be there.
const FOLDERS: &[&str] = &[
    "bin",
    "dev",
    "etc",
    "opt/cni/bin",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/local/bin",
    "usr/local/lib",
    "usr/sbin",
    "var/lib/containerd",
    "var/lib/kubelet",
    "var/lib/rancher",
    "var/log",
];

impl<'a> Bundle<'a> {
    pub fn assemble(scratch: &Scratch, programs: &'a Programs, setup: &'a Setup) -> Result<Self> {
        let bundle = Self { folder: scratch.path().to_path_buf(), programs, setup };
        bundle.make_root().context("assembling the sandbox's root directory")?;
        bundle.add_programs().context("copying programs into the sandbox's root directory")?;
        bundle.write_spec().context("writing the sandbox's specification")?;
        Ok(bundle)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn setup(&self) -> &Setup {
        self.setup
    }

    pub fn programs(&self) -> &Programs {
        self.programs
    }

    /// What the sandbox's first process writes, which has the lines of all Kubernetes components.
    pub fn node_log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    pub fn logs(&self) -> String {
        format!("{} and {}", self.node_log().display(), self.root().join("var/log").display())
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn make_root(&self) -> Result<()> {
        let root = self.root();
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder))?;
        }
        // Gone after a restart, as on every distribution.
        symlink("../run", root.join("var/run"))?;

        let busybox =
            find_on_path("busybox").context("busybox is not on PATH; the package is busybox-static")?;
        fs::copy(&busybox, root.join("bin/busybox"))?;
        let applets = run(Command::new(&busybox).arg("--list"))?;
        for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        for (name, content) in [
            ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("group", "root:x:0:\n"),
            ("hosts", "127.0.0.1 localhost\n10.42.0.1 node\n"),
            ("resolv.conf", ""),
            ("machine-id", "66736d61737100000000000000000001\n"),
        ] {
            fs::write(root.join("etc").join(name), content)?;
        }
        File::create(self.node_log())?;
        Ok(())
    }

    fn add_programs(&self) -> Result<()> {
        let programs = self.programs;
        let root = self.root();
        let local = root.join("usr/local/bin");
        for (source, name) in [
            (&programs.node, "node"),
            (&programs.containerd.daemon, "containerd"),
            (&programs.containerd.shim, "containerd-shim-runc-v2"),
            (&programs.containerd.ctr, "ctr"),
            (&programs.runc, "runc"),
        ] {
            fs::copy(source, local.join(name)).with_context(|| source.display().to_string())?;
        }
        symlink("node", local.join("kubectl"))?;
        if let Some(metrics_server) = &programs.metrics_server {
            fs::copy(metrics_server, local.join("metrics-server"))?;
        }
        // The network plugin, as it is put onto any node.
        let examples = repository().join("examples/k3s");
        let mut install = Command::new("sh");
        install.arg(examples.join("install.sh")).arg("--root").arg(&root).arg("--network-only");
        install.arg("--host-local").arg(&programs.host_local);
        if let Some(services) = &programs.services {
            install.arg("--service-proxy").arg(&services.proxy);
            fs::copy(&services.dns, local.join("coredns"))?;
            fs::copy(&services.helm, local.join("helm"))?;
        }
        run(&mut install)?;
        copy_with_libraries(&programs.launcher, &local.join("fsmasq"), &root)?;
        let ip = find_on_path("ip").context("ip is not on PATH; the package is iproute2")?;
        // busybox has an applet of that name, which knows no veth.
        fs::remove_file(root.join("bin/ip"))?;
        copy_with_libraries(&ip, &root.join("usr/sbin/ip"), &root)?;

        let cluster = repository().join("tests/cluster");
        fs::copy(cluster.join("bare-node.sh"), root.join("usr/local/lib/bare-node.sh"))?;
        let images = match self.setup.workload {
            Workload::Node => "var/lib/node/images",
            Workload::K3s => "usr/local/lib/images", // k3s-node.sh moves it, as /var/lib/rancher may be a mount
        };
        fs::create_dir_all(root.join(images))?;
        run(Command::new(&programs.node)
            .arg("image")
            .arg(root.join("bin/busybox"))
            .arg(root.join(images).join("busybox.tar")))?;
        if let Some(k3s) = &programs.k3s {
            fs::copy(k3s, local.join("k3s"))?;
            fs::copy(cluster.join("k3s-node.sh"), root.join("usr/local/lib/k3s-node.sh"))?;
            let settings = root.join("usr/local/lib/k3s");
            fs::create_dir_all(&settings)?;
            for entry in fs::read_dir(&examples)? {
                let entry = entry?;
                fs::copy(entry.path(), settings.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn write_spec(&self) -> Result<()> {
        let mut volumes = Vec::new();
        for (name, place) in self.setup.volumes() {
            let source = self.folder.join("volumes").join(name);
            fs::create_dir_all(&source)?;
            volumes.push((source.display().to_string(), (*place).to_owned()));
        }
        let text = serde_json::to_string_pretty(&spec::specification(self.setup, &volumes))?;
        fs::write(self.folder.join("config.json"), text)?;
        Ok(())
    }
}

/// Copies a program, and the shared libraries that the dynamic linker names for it, to the same places below the root.
fn copy_with_libraries(program: &Path, target: &Path, root: &Path) -> Result<()> {
    fs::copy(program, target).with_context(|| program.display().to_string())?;
    // ldd fails for a static program, which needs no library.
    let output = Command::new("ldd").arg(program).output().context("starting ldd")?;
    if !output.status.success() {
        return Ok(());
    }
    for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
        let place = root.join(library.trim_start_matches('/'));
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(library, &place).with_context(|| library.to_owned())?;
    }
    Ok(())
}

/// The absolute paths in ldd's output.
fn libraries(output: &str) -> Vec<&str> {
    output.split_whitespace().filter(|word| word.starts_with('/')).collect()
}

#[cfg(test)]
mod tests {
    use super::libraries;

    #[test]
    fn libraries_are_the_paths_of_ldd_and_not_the_vdso() {
        let output =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld-linux.so.2 (0x3)\n";
        assert_eq!(libraries(output), ["/lib/libc.so.6", "/lib64/ld-linux.so.2"]);
    }
}

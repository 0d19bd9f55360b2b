//! Go programs, built by the names of their modules. Each has a folder with a go.mod of its own, so that versions are
//! pinned and the checksums of all that is fetched are in the repository.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Cache, repository, run, step};

/// What is built together from one module.
pub struct Tool {
    name: &'static str,
    /// The module's folder, from the repository's root.
    module: &'static str,
    packages: &'static [&'static str],
    cgo: bool,
    tags: &'static str,
    link: &'static str,
    /// The module whose version is given to Kubernetes' own version variable.
    version_of: Option<&'static str>,
}

const PLAIN: Tool =
    Tool { name: "", module: "", packages: &[], cgo: false, tags: "", link: "-s -w", version_of: None };

pub const RUNSC: Tool = Tool {
    name: "runsc",
    module: "tests/cluster/tools/gvisor",
    packages: &["gvisor.dev/gvisor/runsc"],
    link: "", // its tests' stack traces are worth the symbols
    ..PLAIN
};

pub const CONTAINERD: Tool = Tool {
    name: "containerd",
    module: "tests/cluster/tools/containerd",
    packages: &[
        "github.com/containerd/containerd/v2/cmd/containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/ctr",
    ],
    ..PLAIN
};

pub const RUNC: Tool = Tool {
    name: "runc",
    module: "tests/cluster/tools/runc",
    packages: &["github.com/opencontainers/runc"],
    cgo: true, // its first stage is C
    tags: "seccomp netgo osusergo",
    link: "-s -w -extldflags -static",
    ..PLAIN
};

pub const CNI: Tool = Tool {
    name: "cni",
    module: "tests/cluster/tools/cni",
    packages: &["github.com/containernetworking/plugins/plugins/ipam/host-local"],
    ..PLAIN
};

/// With Kubernetes modules newer than the node's: it doesn't compile with those.
pub const METRICS_SERVER: Tool = Tool {
    name: "metrics-server",
    module: "tests/cluster/tools/metrics-server",
    packages: &["sigs.k8s.io/metrics-server/cmd/metrics-server"],
    ..PLAIN
};

/// With the metrics server's Kubernetes modules: those of the node are too old for it.
pub const COREDNS: Tool =
    Tool { name: "coredns", module: "tests/cluster/tools/coredns", packages: &["."], ..PLAIN };

pub const HELM: Tool = Tool {
    name: "helm",
    module: "tests/cluster/tools/helm",
    packages: &["helm.sh/helm/v3/cmd/helm"],
    ..PLAIN
};

pub const SERVICE_PROXY: Tool =
    Tool { name: "service-proxy", module: "examples/service-proxy", packages: &["."], ..PLAIN };

pub const NODE: Tool = Tool {
    name: "node",
    module: "tests/cluster/node",
    packages: &["."],
    version_of: Some("k8s.io/kubernetes"),
    ..PLAIN
};

/// Builds a tool unless the cache has it, and returns the folder with its programs.
pub fn build(cache: &Cache, tool: &Tool) -> Result<PathBuf> {
    let _lock = cache.lock()?;
    let module = repository().join(tool.module);
    let sources = read_sources(&module)?;
    let compiler = run(Command::new("go").arg("version"))
        .context("Go builds the programs for this; put `go`, 1.26 or later, on PATH")?;
    let key = key(tool, &compiler, &sources);
    let target = cache.root.join(format!("{}-{key:016x}", tool.name));
    if target.exists() {
        return Ok(target);
    }
    step(&format!("{}: go build (minutes at the first time)", tool.name), || {
        let unfinished = cache.root.join(format!("{}.unfinished", tool.name));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        let mut link = tool.link.to_owned();
        if let Some(dependency) = tool.version_of {
            let version = version_of(dependency, &sources)?;
            link = format!("{link} -X k8s.io/component-base/version.gitVersion={version}");
        }
        let mut go = Command::new("go");
        go.current_dir(&module)
            .env("CGO_ENABLED", if tool.cgo { "1" } else { "0" })
            .args(["build", "-buildvcs=false", "-tags", tool.tags, "-ldflags", &link, "-o"])
            .arg(format!("{}/", unfinished.display())) // the slash: a folder for several programs
            .args(tool.packages);
        run(&mut go)?;
        remove_stale(cache, tool)?;
        fs::rename(&unfinished, &target)?;
        Ok(target.clone())
    })
}

/// All files of a module's folder, by their path: Go sources, module files, and what they embed.
fn read_sources(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        let entries = fs::read_dir(&current).with_context(|| format!("listing {}", current.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                files.insert(path.strip_prefix(folder)?.to_path_buf(), content);
            }
        }
    }
    Ok(files)
}

/// Changes whenever the result of the build may. A change of the hash's algorithm only means one build more.
fn key(tool: &Tool, compiler: &[u8], sources: &BTreeMap<PathBuf, Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (compiler, tool.packages, tool.cgo, tool.tags, tool.link).hash(&mut hasher);
    sources.hash(&mut hasher);
    hasher.finish()
}

/// The version of a module in go.mod's list of requirements.
fn version_of(dependency: &str, sources: &BTreeMap<PathBuf, Vec<u8>>) -> Result<String> {
    let text = sources
        .get(Path::new("go.mod"))
        .map(|content| String::from_utf8_lossy(content))
        .context("the module's folder has no go.mod")?;
    for line in text.lines() {
        let mut words = line.split_whitespace().filter(|word| *word != "require");
        if words.next() == Some(dependency)
            && let Some(version) = words.next()
            && version.starts_with('v')
        {
            return Ok(version.to_owned());
        }
    }
    bail!("go.mod requires no {dependency}")
}

/// Removes what was built of the same tool from older sources: a node alone has 140 MB.
fn remove_stale(cache: &Cache, tool: &Tool) -> Result<()> {
    for entry in fs::read_dir(&cache.root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_build = name
            .strip_prefix(tool.name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        if is_build {
            fs::remove_dir_all(entry.path()).with_context(|| format!("removing the stale {name}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go_mod(text: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        BTreeMap::from([(PathBuf::from("go.mod"), text.as_bytes().to_vec())])
    }

    #[test]
    fn version_is_found_in_a_block_and_on_a_line_of_its_own() {
        let block = go_mod("module x\nrequire (\n\tk8s.io/kubernetes v1.34.4\n)\n");
        assert_eq!(version_of("k8s.io/kubernetes", &block).ok().as_deref(), Some("v1.34.4"));
        let line = go_mod("module x\nrequire k8s.io/kubernetes v1.2.3 // indirect\n");
        assert_eq!(version_of("k8s.io/kubernetes", &line).ok().as_deref(), Some("v1.2.3"));
    }

    #[test]
    fn version_is_not_taken_from_a_replacement() {
        let replaced = go_mod("replace k8s.io/kubernetes => k8s.io/kubernetes v9.9.9\n");
        assert!(version_of("k8s.io/kubernetes", &replaced).is_err());
    }

    #[test]
    fn key_changes_with_a_source_file_and_with_the_compiler() {
        let first = key(&RUNSC, b"go1", &go_mod("a"));
        assert_eq!(first, key(&RUNSC, b"go1", &go_mod("a")));
        assert_ne!(first, key(&RUNSC, b"go1", &go_mod("b")));
        assert_ne!(first, key(&RUNSC, b"go2", &go_mod("a")));
    }
}

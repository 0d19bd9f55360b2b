//! Debian packages: installed where they are missing, or unpacked into the cache.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Cache, run, step};

/// Installs what is missing among the packages.
pub fn install(packages: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    for package in packages {
        if !is_installed(package)? {
            missing.push(*package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    step(&format!("Debian packages: {}", missing.join(", ")), || {
        let install = || {
            run(Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--no-install-recommends"])
                .args(&missing))
        };
        if install().is_ok() {
            return Ok(());
        }
        // A fresh machine has no package lists, or old ones.
        run(Command::new("apt-get").arg("update"))?;
        install().with_context(|| {
            format!("installing {} (this needs root, and Debian or a relative of it)", missing.join(" "))
        })?;
        Ok(())
    })
}

fn is_installed(package: &str) -> Result<bool> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .with_context(|| {
            format!("asking dpkg for the package {package}: elsewhere than on Debian, install it by hand and put a dpkg-query on PATH")
        })?;
    Ok(output.status.success() && output.stdout == b"installed")
}

/// The package that another one, which only names a version, depends on.
pub fn dependency(package: &str, beginning: &str) -> Result<String> {
    let ask =
        || run(Command::new("apt-cache").args(["depends", "--no-recommends", "--no-suggests", package]));
    let find = |said: Vec<u8>| {
        let said = String::from_utf8_lossy(&said).into_owned();
        let names = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned));
        names.into_iter().find(|name| name.starts_with(beginning))
    };
    if let Some(found) = ask().ok().and_then(find) {
        return Ok(found);
    }
    // A fresh machine has no package lists.
    run(Command::new("apt-get").arg("update"))?;
    find(ask()?).with_context(|| format!("the Debian package {package} depends on no {beginning}…"))
}

/// Downloads a package and unpacks it into the cache, without installing it: the machine may have another version.
pub fn unpack(cache: &Cache, package: &str) -> Result<PathBuf> {
    let _lock = cache.lock()?;
    let target = cache.root.join(format!("debian-{package}"));
    if target.exists() {
        return Ok(target);
    }
    step(&format!("Debian package {package}, unpacked"), || {
        let unfinished = cache.root.join(format!("debian-{package}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        let download = || {
            // Without the option apt drops to a user who can't write here.
            run(Command::new("apt-get").current_dir(&unfinished).args([
                "--option=APT::Sandbox::User=root",
                "download",
                package,
            ]))
        };
        if download().is_err() {
            run(Command::new("apt-get").arg("update"))?;
            download().with_context(|| format!("downloading the Debian package {package}"))?;
        }
        let archives: Vec<PathBuf> =
            fs::read_dir(&unfinished)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        let [archive] = archives.as_slice() else {
            bail!("apt-get download {package} left {archives:?}, not one file");
        };
        run(Command::new("dpkg").arg("--extract").arg(archive).arg(&unfinished))?;
        fs::rename(&unfinished, &target)?;
        Ok(target.clone())
    })
}

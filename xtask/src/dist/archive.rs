//! The archive for other distributions, and the sums: the same bytes for the same commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::write;
use crate::tools::run;

/// A folder like `/usr/local`, to be unpacked there with `--strip-components=1`.
pub fn pack(tree: &Path, folder: &Path, epoch: &str) -> Result<PathBuf> {
    let name = format!("fsmasq-{}-x86_64", env!("CARGO_PKG_VERSION"));
    let archive = folder.join(format!("{name}.tar.gz"));
    let plain = folder.join(format!("{name}.tar"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{epoch}")).arg(format!("--transform=s,^usr,{name},"));
    // Debian's own files are of no use elsewhere.
    tar.args(["--exclude=usr/share/lintian", "--exclude=changelog.gz", "--file"]).arg(&plain);
    run(tar.arg("--directory").arg(tree).arg("usr"))?;
    gzip(&plain)?;
    Ok(archive)
}

/// Replaces a file by its compressed form, without name and time in it.
pub fn gzip(file: &Path) -> Result<()> {
    run(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(file)).map(drop)
}

/// As sha256sum writes and checks them.
pub fn sums(folder: &Path, files: &[&PathBuf]) -> Result<PathBuf> {
    let names = files.iter().filter_map(|file| file.file_name());
    let text = run(Command::new("sha256sum").current_dir(folder).args(names))?;
    let path = folder.join("SHA256SUMS");
    write(&path, text)?;
    Ok(path)
}

/// Makes a copy of an example without what an editor left.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            write(&to.join(name), fs::read(&path)?)?;
        }
    }
    Ok(())
}

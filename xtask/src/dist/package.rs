//! The Debian package: a tree of files as they are installed, and dpkg-deb.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::{copy_folder, gzip};
use super::{completions, manual, write};
use crate::tools::{repository, run};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const MAINTAINER: &str = "The fsmasq developers <fsmasq@localhost.localdomain>";

/// What lintian finds and is meant so.
const OVERRIDES: &str = "\
# Sandboxes have no libraries, or other ones: the program has all that it needs.
fsmasq: statically-linked-binary [usr/bin/fsmasq]
fsmasq: shared-library-lacks-prerequisites [usr/bin/fsmasq]
# There is no address to write to, and none is made up.
fsmasq: bogus-mail-host *
fsmasq: bogus-mail-host-in-debian-changelog *
";

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: fsmasq

Files: *
Copyright: 2026 The fsmasq developers
License: MIT
Comment: The program is linked with the GNU C library (LGPL-2.1+), Rust's standard library and crates, all of them under
 MIT, Apache-2.0 or Unicode-3.0; `cargo tree` in the source names them.

License: MIT
";

/// Puts all files where they belong.
pub fn stage(tree: &Path, program: &Path, epoch: &str) -> Result<()> {
    let source = repository();
    let share = tree.join("usr/share");
    let documents = share.join("doc/fsmasq");
    let read = |name: &str| fs::read(source.join(name)).with_context(|| format!("reading {name}"));

    write(&tree.join("usr/bin/fsmasq"), fs::read(program)?)?;
    write(&share.join("man/man1/fsmasq.1"), manual::page(&date(epoch, "+%F")?)?)?;
    gzip(&share.join("man/man1/fsmasq.1"))?;
    write(&share.join("bash-completion/completions/fsmasq"), completions::bash())?;
    write(&share.join("zsh/vendor-completions/_fsmasq"), completions::zsh())?;
    write(&share.join("fish/vendor_completions.d/fsmasq.fish"), completions::fish())?;
    // /lib is a link to usr/lib on every Debian that is still supported. Nothing enables the unit.
    write(&tree.join("usr/lib/systemd/system/fsmasq-k3s.service"), read("examples/fsmasq-k3s.service")?)?;
    write(&documents.join("copyright"), copyright(&String::from_utf8_lossy(&read("LICENSE")?)))?;
    write(&documents.join("changelog"), changelog(epoch)?)?;
    gzip(&documents.join("changelog"))?;
    write(&share.join("lintian/overrides/fsmasq"), OVERRIDES)?;
    copy_folder(&source.join("examples"), &documents.join("examples"))?;
    // As everywhere below /usr, whatever the umask of now is.
    modes(tree)
}

fn modes(path: &Path) -> Result<()> {
    let executable = path.is_dir() || path.ends_with("usr/bin/fsmasq");
    fs::set_permissions(path, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            modes(&entry?.path())?;
        }
    }
    Ok(())
}

/// Packs the tree; its control folder is in a copy, since the archive has none.
pub fn pack(tree: &Path, folder: &Path, epoch: &str) -> Result<PathBuf> {
    let root = folder.join("deb");
    run(Command::new("cp").arg("--archive").arg(tree).arg(&root))?;
    write(&root.join("DEBIAN/control"), control(size(tree)?))?;
    let mut sums = Command::new("sh");
    sums.args(["-c", "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum"]);
    write(&root.join("DEBIAN/md5sums"), run(sums.current_dir(&root))?)?;
    modes(&root)?;
    let deb = folder.join(format!("fsmasq_{VERSION}_amd64.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]).arg(&root).arg(&deb);
    run(pack.env("SOURCE_DATE_EPOCH", epoch))?;
    fs::remove_dir_all(&root)?;
    Ok(deb)
}

fn control(kilobytes: u64) -> String {
    format!(
        "Package: fsmasq
Version: {VERSION}
Architecture: amd64
Maintainer: {MAINTAINER}
Installed-Size: {kilobytes}
Section: utils
Priority: optional
Description: prefix for a command: it sees 9p file systems as ext4
 Kubernetes does not start in a sandbox whose file system is 9p (gVisor, Kata
 Containers, shares of QEMU, WSL2), since the kubelet looks for file systems
 that it knows. Below this prefix 9p looks like ext4 wherever the kernel names
 the type, and in gVisor the few files are there that a node needs.
 .
 An example of a systemd unit for k3s is installed, and not enabled.
"
    )
}

fn copyright(licence: &str) -> String {
    let mut text = COPYRIGHT.to_owned();
    for line in licence.lines().skip_while(|line| !line.starts_with("Permission")) {
        text.push_str(if line.is_empty() { " ." } else { " " });
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Debian's form; CHANGELOG.md is the one to read.
fn changelog(epoch: &str) -> Result<String> {
    let date = date(epoch, "+%a, %d %b %Y %T %z")?;
    Ok(format!(
        "fsmasq ({VERSION}) unstable; urgency=low\n\n  * See CHANGELOG.md in the source.\n\n -- {MAINTAINER}  {date}\n"
    ))
}

fn date(epoch: &str, form: &str) -> Result<String> {
    let mut date = Command::new("date");
    let said = run(date.env("LC_ALL", "C").args(["--utc", "--date", &format!("@{epoch}"), form]))?;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

fn size(path: &Path) -> Result<u64> {
    // Of files only: a folder's own size is the file system's.
    let mut find = Command::new("find");
    let said = run(find.arg(path).args(["-type", "f", "-printf", "%s\n"]))?;
    let text = String::from_utf8_lossy(&said).into_owned();
    Ok(text.lines().filter_map(|size| size.parse::<u64>().ok()).sum::<u64>().div_ceil(1024))
}

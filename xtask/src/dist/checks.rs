//! The tools that users have look at what was made, and use it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::rows::{Rows, has};
use super::{Made, archive, package, program, shells, write};
use crate::test::is_on_path;
use crate::tools::{repository, run};

pub fn all(made: &Made, rows: &mut Rows) -> Result<()> {
    // It is gone again at the end, also after a failure.
    let scratch = tempfile::tempdir().context("making a scratch folder")?;
    the_program(made, rows);
    the_package(made, rows, scratch.path());
    the_manual(made, rows);
    the_unit(made, rows);
    shells::all(&made.tree, rows, scratch.path())?;
    rows.check("the archive unpacks, and its program runs", the_archive(made, scratch.path()));
    rows.check("the sums are right", {
        let mut sums = Command::new("sha256sum");
        run(sums.current_dir(&made.folder).args(["--check", "--strict", "SHA256SUMS"])).map(drop)
    });
    rows.check("packed once more, both are the same bytes", packed_again(made, scratch.path()));
    the_crate(rows, scratch.path());
    Ok(())
}

fn the_program(made: &Made, rows: &mut Rows) {
    rows.check("the program has neither an interpreter nor libraries", is_static(&made.program));
    rows.check("the program has no path of this machine", {
        fs::read(&made.program).map_err(Into::into).and_then(|bytes| {
            let path = repository().display().to_string();
            let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
            ensure!(!found, "{path} is in it");
            Ok(())
        })
    });
    rows.check("below it, with an empty environment, tmpfs is ext4", {
        let mut command = Command::new(&made.program);
        command.env_clear().args([
            "--map",
            "tmpfs=ext4",
            "--profile",
            "none",
            "stat",
            "-f",
            "-c",
            "%t",
            "/dev/shm",
        ]);
        run(&mut command).and_then(|output| has(&output, &["ef53\n"]))
    });
}

/// By readelf's words: `file` and `ldd` read the same two things.
fn is_static(program: &Path) -> Result<()> {
    let mut readelf = Command::new("readelf");
    let said =
        run(readelf.env("LC_ALL", "C").args(["--wide", "--program-headers", "--dynamic"]).arg(program))?;
    let said = String::from_utf8_lossy(&said);
    ensure!(!said.contains("INTERP") && !said.contains("(NEEDED)"), "it is not static:\n{said}");
    Ok(())
}

fn the_package(made: &Made, rows: &mut Rows, scratch: &Path) {
    let ask = |option: &str| run(Command::new("dpkg-deb").arg(option).arg(&made.deb));
    let parts = ["Package: fsmasq", "Architecture: amd64", "Installed-Size: "];
    rows.check("dpkg-deb --info", ask("--info").and_then(|text| has(&text, &parts)));
    let files = [
        "-rwxr-xr-x root/root",
        "./usr/bin/fsmasq\n",
        "./usr/share/man/man1/fsmasq.1.gz\n",
        "./usr/share/bash-completion/completions/fsmasq\n",
        "./usr/share/zsh/vendor-completions/_fsmasq\n",
        "./usr/share/fish/vendor_completions.d/fsmasq.fish\n",
        "./usr/lib/systemd/system/fsmasq-k3s.service\n",
        "./usr/share/doc/fsmasq/copyright\n",
        "./usr/share/doc/fsmasq/examples/rules.toml\n",
    ];
    rows.check("dpkg-deb --contents", ask("--contents").and_then(|text| has(&text, &files)));
    let installed = "dpkg installs it into an empty root, where it runs a command, and removes it";
    if nix::unistd::geteuid().is_root() {
        rows.check(installed, install(&made.deb, &scratch.join("root")));
    } else {
        rows.skip(installed, "root");
    }
    let clean = "lintian finds nothing";
    if is_on_path("lintian") {
        let mut lintian = Command::new("lintian");
        lintian.args(["--allow-root", "--fail-on=error,warning", "--tag-display-limit=0"]).arg(&made.deb);
        rows.check(clean, run(&mut lintian).map(drop));
    } else {
        rows.skip(clean, "lintian");
    }
}

/// The root has nothing but the package: no shell, no libraries, no /proc.
fn install(deb: &Path, root: &Path) -> Result<()> {
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.join(folder))?;
    }
    write(&root.join("var/lib/dpkg/status"), "")?;
    let dpkg = |arguments: &[&str]| {
        // Without these it looks for programs of maintainer scripts, of which the package has none.
        let mut command = Command::new("dpkg");
        command.arg("--root").arg(root).args(["--force-bad-path", "--log=/dev/null"]).args(arguments);
        run(&mut command)
    };
    dpkg(&["--install", &deb.display().to_string()])?;
    let version = format!("fsmasq {}\n", env!("CARGO_PKG_VERSION"));
    let mut command = Command::new("chroot");
    command.arg(root).args(["/usr/bin/fsmasq", "/usr/bin/fsmasq", "--version"]);
    has(&run(command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))?, &[&version])?;
    dpkg(&["--purge", "fsmasq"])?;
    ensure!(!root.join("usr/bin/fsmasq").exists(), "it is still there after dpkg --purge");
    Ok(())
}

fn the_manual(made: &Made, rows: &mut Rows) {
    let page = made.tree.join("usr/share/man/man1/fsmasq.1.gz");
    let parts =
        ["fsmasq", "--print-profile", "fsmasq --map fuse=ext4 -- COMMAND", "FSMASQ_LOG", "EXIT STATUS"];
    if is_on_path("man") {
        let mut man = Command::new("man");
        man.envs([("LC_ALL", "C.UTF-8"), ("MANWIDTH", "100"), ("MAN_KEEP_FORMATTING", "")]);
        man.args(["--warnings", "--local-file"]).arg(&page);
        rows.check("man shows the page", run(&mut man).and_then(|text| has(&text, &parts)));
    } else {
        rows.skip("man shows the page", "man");
    }
    if is_on_path("mandoc") {
        let mut mandoc = Command::new("mandoc");
        rows.check("mandoc finds nothing", run(mandoc.args(["-Tlint", "-Wwarning"]).arg(&page)).map(drop));
    } else {
        rows.skip("mandoc finds nothing", "mandoc");
    }
}

fn the_unit(made: &Made, rows: &mut Rows) {
    let name = "systemd-analyze verifies the unit";
    if !is_on_path("systemd-analyze") {
        return rows.skip(name, "systemd");
    }
    rows.check(name, verify(made));
}

/// systemd is given a root that has the program; k3s is an argument, which it doesn't look for.
fn verify(made: &Made) -> Result<()> {
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no", "--root"])
        .arg(&made.tree)
        .arg("/usr/lib/systemd/system/fsmasq-k3s.service")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && !said.contains("fsmasq-k3s.service:"), "{} {said}", output.status);
    Ok(())
}

fn the_archive(made: &Made, scratch: &Path) -> Result<()> {
    let folder = scratch.join("unpacked");
    fs::create_dir_all(&folder)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--file"]).arg(&made.archive);
    run(tar.arg("--directory").arg(&folder))?;
    ensure!(folder.join("share/man/man1/fsmasq.1.gz").exists(), "it has no man page");
    has(&run(Command::new(folder.join("bin/fsmasq")).arg("--version"))?, &[env!("CARGO_PKG_VERSION")])
}

/// Another folder, another time of the files: only the commit's time may be in what is packed.
fn packed_again(made: &Made, scratch: &Path) -> Result<()> {
    let folder = scratch.join("again");
    let tree = folder.join("tree");
    package::stage(&tree, &made.program, &made.epoch)?;
    let deb = package::pack(&tree, &folder, &made.epoch)?;
    let archive = archive::pack(&tree, &folder, &made.epoch)?;
    for (first, second) in [(&made.deb, &deb), (&made.archive, &archive)] {
        ensure!(fs::read(first)? == fs::read(second)?, "{} differs from the first", second.display());
    }
    Ok(())
}

fn the_crate(rows: &mut Rows, scratch: &Path) {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(repository()).args(arguments);
        command
    };
    let files = ["Cargo.toml", "LICENSE", "README.md", "src/main.rs", "src/profiles/gvisor.toml"];
    let list = ["package", "--package=fsmasq", "--list", "--allow-dirty", "--offline"];
    rows.check("cargo packages the crate, without tests and tasks", {
        run(&mut cargo(&list)).and_then(|text| {
            has(&text, &files)?;
            let text = String::from_utf8_lossy(&text);
            ensure!(!text.lines().any(|l| l.starts_with("tests/") || l.starts_with("xtask/")), "{text}");
            Ok(())
        })
    });
    let mut install = cargo(&["install", "--quiet", "--locked", "--offline", "--path", ".", "--root"]);
    install.arg(scratch.join("installed")).args(["--target", program::TARGET]);
    // With the flags of the package what is built already is taken.
    install.env("CARGO_ENCODED_RUSTFLAGS", program::flags()).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    rows.check("cargo installs the program", {
        run(&mut install).and_then(|_| {
            let mut command = Command::new(scratch.join("installed/bin/fsmasq"));
            has(&run(command.arg("--version"))?, &[env!("CARGO_PKG_VERSION")])
        })
    });
}

//! Mounts of this process's own: nobody else sees them, and they are gone with it.

use crate::sandbox;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};

/// A tmpfs in a mount namespace of this process's own.
pub struct Ground(PathBuf);

const NOTHING: Option<&str> = None;

/// A mount namespace of this process's own, from which nothing comes out.
pub fn own_mounts() -> nix::Result<()> {
    unshare_really(CloneFlags::CLONE_NEWNS, "mnt")?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
}

/// A network namespace of this process's own.
pub fn own_network() -> nix::Result<()> {
    unshare_really(CloneFlags::CLONE_NEWNET, "net")
}

/// ENOSYS where it only seems so: gVisor of 2022 says that all is well, and leaves a process in the mount namespace where it was.
fn unshare_really(flag: CloneFlags, name: &str) -> nix::Result<()> {
    let link = format!("/proc/self/ns/{name}");
    let before = std::fs::read_link(&link).ok();
    unshare(flag)?;
    let after = std::fs::read_link(&link).ok();
    let cannot_tell = !Path::new("/proc/self").exists() && !sandbox::is_gvisor();
    if cannot_tell || after.is_some() && before != after { Ok(()) } else { Err(nix::Error::ENOSYS) }
}

impl Ground {
    /// In a namespace of `own_mounts`.
    pub fn new() -> nix::Result<Ground> {
        let folder = ["/dev/shm", "/tmp", "/run", "/"].map(Path::new).into_iter().find(|path| path.is_dir());
        let folder = folder.ok_or(nix::Error::ENOENT)?;
        mount(Some("fsmasq-doctor"), folder, Some("tmpfs"), MsFlags::empty(), NOTHING)?;
        Ok(Ground(folder.to_owned()))
    }

    /// A folder on it.
    pub fn folder(&self, name: &str) -> nix::Result<PathBuf> {
        let path = self.0.join(name);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(nix::Error::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
            }
            _ => Ok(path),
        }
    }
}

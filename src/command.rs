//! The command: where its program is, and why it can't be executed.

use crate::arch;
use goblin::elf::header;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Why a program is not executed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{}: not found{}", .name.display(), if .name.as_bytes().contains(&b'/') { "" } else { " in PATH" })]
    NotFound { name: OsString },
    #[error("{}: {reason}", .path.display())]
    NotExecutable { path: PathBuf, reason: String },
}

/// The folders of execvp(3) where PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file that `name` stands for, as execvp(3) finds it.
pub fn resolve(name: &OsStr) -> Result<PathBuf, CommandError> {
    let not_found = || CommandError::NotFound { name: name.to_owned() };
    if name.is_empty() {
        return Err(not_found());
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return if path.symlink_metadata().is_ok() { Ok(path) } else { Err(not_found()) };
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut refused = None;
    for folder in std::env::split_paths(&folders) {
        let path = folder.join(name);
        match nix::unistd::access(&path, nix::unistd::AccessFlags::X_OK) {
            Ok(()) if path.is_file() => return Ok(path),
            Err(nix::Error::EACCES) if refused.is_none() => refused = Some((folder, path)),
            _ => {}
        }
    }
    // As execvp(3) has it: nothing was found, and somewhere it was not allowed to look.
    match refused {
        None => Err(not_found()),
        Some((_, path)) if path.symlink_metadata().is_ok() => Err(CommandError::NotExecutable {
            path,
            reason: "found in PATH, but it may not be executed; see its mode (chmod +x)".into(),
        }),
        Some((folder, _)) => Err(CommandError::NotExecutable {
            path: name.into(),
            reason: format!("not found in PATH, of which {} may not be searched", folder.display()),
        }),
    }
}

/// Executes the program in place; returns only where that fails.
pub fn execute(path: &Path, arguments: &[OsString]) -> CommandError {
    let mut errno = exec(path.as_os_str(), arguments);
    if errno == nix::Error::ENOEXEC && !is_elf(path) {
        // A script without a first line for the kernel: sh runs it, as execvp(3) does.
        let mut script: Vec<OsString> = vec!["sh".into(), path.into()];
        script.extend(arguments.iter().skip(1).cloned());
        errno = exec(OsStr::new("/bin/sh"), &script);
    }
    if errno == nix::Error::ENOENT && path.symlink_metadata().is_err() {
        return CommandError::NotFound { name: path.into() };
    }
    CommandError::NotExecutable { path: path.to_owned(), reason: reason(path, errno) }
}

fn exec(path: &OsStr, arguments: &[OsString]) -> nix::Error {
    let string = |s: &OsStr| CString::new(s.as_bytes());
    let arguments: Result<Vec<CString>, _> = arguments.iter().map(|a| string(a)).collect();
    match (string(path), arguments) {
        (Ok(path), Ok(arguments)) => match nix::unistd::execv(&path, &arguments) {
            Err(errno) => errno,
        },
        // A string of argv can't have a NUL in the middle: it came from one.
        _ => nix::Error::EINVAL,
    }
}

fn is_elf(path: &Path) -> bool {
    first_bytes(path).is_ok_and(|bytes| bytes.starts_with(header::ELFMAG))
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says why, with the file's own words where it has some.
fn reason(path: &Path, errno: nix::Error) -> String {
    let bytes = first_bytes(path).unwrap_or_default();
    match errno {
        nix::Error::ENOEXEC => foreign_machine(&bytes)
            .unwrap_or_else(|| "neither an ELF program nor a script of this machine".into()),
        nix::Error::ENOENT => match interpreter(&bytes) {
            Some(interpreter) => {
                format!("its interpreter {} is not there; install what it belongs to", interpreter.display())
            }
            None => {
                "its dynamic loader is not there; is the C library that it was built for installed?".into()
            }
        },
        nix::Error::EACCES if path.is_dir() => "it is a directory".into(),
        nix::Error::EACCES => {
            "permission denied; see its mode (chmod +x) and whether it is on a noexec mount".into()
        }
        errno => errno.desc().to_owned(),
    }
}

/// The machine that an ELF program is for, where that is not this one.
pub(crate) fn foreign_machine(bytes: &[u8]) -> Option<String> {
    let parsed = goblin::elf::Elf::parse_header(bytes).ok()?;
    if arch::MACHINES.contains(&parsed.e_machine) {
        return Some("a damaged ELF program, or one for another system".into());
    }
    let machine = header::machine_to_str(parsed.e_machine).trim_start_matches("EM_").to_lowercase();
    Some(format!(
        "a program for another machine ({machine}); this one is {}. Get the build for it",
        std::env::consts::ARCH
    ))
}

/// The interpreter in a script's first line.
pub(crate) fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    let line = bytes.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.trim_ascii().split(|b| *b == b' ' || *b == b'\t').next()?;
    Some(PathBuf::from(OsString::from_vec(word.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        assert!(resolve(OsStr::new("sh")).is_ok());
        assert!(matches!(resolve(OsStr::new("no such program")), Err(CommandError::NotFound { .. })));
        assert!(matches!(resolve(OsStr::new("./no/such")), Err(CommandError::NotFound { .. })));
        assert!(matches!(resolve(OsStr::new("")), Err(CommandError::NotFound { .. })));
    }

    #[test]
    fn a_foreign_machine_is_named() {
        let mut program = vec![0u8; 64];
        program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        program[16] = 2; // an executable
        program[18] = 183; // for aarch64
        program[20] = 1;
        assert!(foreign_machine(&program).is_some_and(|m| m.contains("aarch64")));
        assert_eq!(foreign_machine(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn a_scripts_interpreter_is_named() {
        assert_eq!(interpreter(b"#! /usr/bin/env python\n"), Some("/usr/bin/env".into()));
        assert_eq!(interpreter(b"echo"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(bytes: Vec<u8>) {
            let _ = (foreign_machine(&bytes), interpreter(&bytes));
        }
    }
}

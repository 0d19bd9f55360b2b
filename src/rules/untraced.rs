//! Programs that are left alone.

use crate::ptrace::Tid;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The kernel cuts a task's name to this many bytes (TASK_COMM_LEN, linux/sched.h, without the NUL).
const NAME_BYTES: usize = 15;

/// Which programs run without the launcher, and all that they start: by name, or by path where there is a slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Untraced(Vec<OsString>);

impl Untraced {
    pub fn push(&mut self, program: impl Into<OsString>) {
        self.0.push(program.into());
    }

    /// Whether the program that a task has just executed is one of them: by its file, or as it was called (a script,
    /// a link).
    pub fn contains(&self, tid: Tid) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let file = fs::read_link(format!("{tid}/exe")).unwrap_or_default();
        let mut name = fs::read(format!("{tid}/comm")).unwrap_or_default();
        name.pop();
        self.names(&file, &name)
    }

    fn names(&self, file: &Path, name: &[u8]) -> bool {
        self.0.iter().any(|program| {
            let bytes = program.as_bytes();
            if bytes.contains(&b'/') {
                return file.as_os_str() == OsStr::from_bytes(bytes);
            }
            file.file_name() == Some(program) || &bytes[..bytes.len().min(NAME_BYTES)] == name
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_name_and_by_path() {
        let mut untraced = Untraced::default();
        untraced.push("strace");
        untraced.push("/opt/a/gdb");
        untraced.push("a-very-long-name.sh");
        assert!(untraced.names(Path::new("/usr/bin/strace"), b"other"));
        assert!(untraced.names(Path::new("/usr/bin/python3"), b"strace"));
        assert!(untraced.names(Path::new("/usr/bin/bash"), b"a-very-long-nam"));
        assert!(
            untraced.names(Path::new("/opt/a/gdb"), b"x") && !untraced.names(Path::new("/opt/b/gdb"), b"gdb")
        );
        assert!(!untraced.names(Path::new("/usr/bin/bash"), b"bash"));
        assert!(!Untraced::default().contains(Tid(1)));
    }
}

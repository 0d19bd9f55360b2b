//! Who else executes, or sees, the code that a task executes: as /proc tells.

use crate::ptrace::Tid;
use crate::status::Status;
use crate::tracer::signals;
use std::fs;

/// linux/kcmp.h.
const KCMP_VM: libc::c_int = 1;

/// Whether no other task executes this task's memory. (Where the kernel can't compare memories, as in gVisor, other
/// processes are taken to have their own.)
pub fn is_alone(tid: Tid) -> bool {
    let threads = fs::read_dir(format!("{tid}/task")).map_or(usize::MAX, Iterator::count);
    threads == 1 && !relatives(tid).into_iter().any(|other| shares_memory(tid, other))
}

/// Its parent and its children.
fn relatives(tid: Tid) -> Vec<i32> {
    let children = fs::read_to_string(format!("{tid}/task/{tid}/children")).unwrap_or_default();
    let parent = Status::of(tid).and_then(|status| status.number("PPid"));
    children.split_whitespace().filter_map(|child| child.parse().ok()).chain(parent).collect()
}

fn shares_memory(tid: Tid, other: i32) -> bool {
    // SAFETY: no pointers.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, tid.0, other, KCMP_VM, 0, 0) };
    match nix::Error::result(order) {
        Ok(order) => order == 0,
        Err(nix::Error::ENOSYS | nix::Error::ESRCH) => false,
        // Whoever may not be looked at is no child that shares anything, but a parent may.
        Err(_) => true,
    }
}

/// Whether no other thread would notice a breakpoint: the kernel resets what a process does with a trap if a thread
/// that blocks or ignores it meets one (kernel/signal.c, force_sig_info_to_task). False where nobody says.
pub fn may_trap(tid: Tid) -> bool {
    let Ok(threads) = fs::read_dir(format!("{tid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let thread = thread.file_name().to_str().and_then(|name| name.parse().ok()).map(Tid);
        thread.is_some_and(|thread| thread == tid || signals::takes_quietly(thread, libc::SIGTRAP))
    })
}

/// Whether these addresses are in one mapping of code that nobody else sees changes of.
pub fn is_private_code(tid: Tid, site: u64, padding: Option<u64>) -> bool {
    fs::read_to_string(format!("{tid}/maps"))
        .is_ok_and(|maps| maps.lines().any(|line| is_private_code_with(line, site, padding.unwrap_or(site))))
}

fn is_private_code_with(line: &str, one: u64, other: u64) -> bool {
    let mapping = || {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let range = u64::from_str_radix(from, 16).ok()?..u64::from_str_radix(to, 16).ok()?;
        Some((range, rest.get(..4)?))
    };
    mapping().is_some_and(|(range, permissions)| {
        range.contains(&one) && range.contains(&other) && permissions.ends_with("xp")
    })
}

/// Where the heap of a task's program begins (proc_pid_stat(5), `start_brk`). None where nobody says, as in gVisor.
pub fn start_of_heap(tid: Tid) -> Option<u64> {
    let stat = fs::read_to_string(format!("{tid}/stat")).ok()?;
    start_of_heap_in(&stat)
}

fn start_of_heap_in(stat: &str) -> Option<u64> {
    // Field 47; the third one is the first behind the name, which may have anything in it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(47 - 3)?.parse().ok().filter(|heap| *heap != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_code_is_taken() {
        let line = |permissions: &str| format!("7f00-8000 {permissions} 00001000 00:01 5 /lib/x");
        for (permissions, one, other, expected) in [
            ("r-xp", 0x7f00, 0x7fff, true),
            ("rwxp", 0x7f00, 0x7f10, true),
            ("r-xs", 0x7f00, 0x7f10, false),
            ("r--p", 0x7f00, 0x7f10, false),
            ("r-xp", 0x7f00, 0x8000, false),
            ("r-xp", 0x7eff, 0x7f10, false),
        ] {
            assert_eq!(is_private_code_with(&line(permissions), one, other), expected, "{permissions}");
        }
        assert!(!is_private_code_with("no mapping", 0, 0));
    }

    #[test]
    fn the_heap_is_found_behind_any_name() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(start_of_heap_in(&format!("1 (a) b) {}", fields.join(" "))), Some(47));
        assert_eq!(start_of_heap_in("1 (a) R 2"), None);
        let own = std::process::id();
        assert!(start_of_heap(Tid(own.cast_signed())).is_none_or(|heap| heap != 0));
    }
}

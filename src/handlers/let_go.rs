//! Making a task fit to live without its tracer. Its filter stays: each call that matters would fail with ENOSYS.
//! So the task gets a second filter, whose answer for those calls counts more, and the tracer's process waves them
//! through (`crate::notify`). It sees file systems as they are.

use super::Environment;
use super::descriptor::Page;
use super::object::Holder;
use crate::arch::{Abi, Injected, int_argument};
use crate::fast_path;
use crate::ptrace::Result;
use crate::seccomp;
use crate::tracer::{Outcome, Traced};
use libc::sock_filter;
use std::rc::Rc;

/// linux/seccomp.h; the last one came with Linux 5.19.
const SET_MODE_FILTER: u64 = 1;
const NEW_LISTENER: u64 = 1 << 3;
const WAIT_KILLABLE: u64 = 1 << 5;
/// linux/prctl.h.
const PR_SET_NO_NEW_PRIVS: u64 = 38;

/// A task that is to be let go, wherever it stopped.
pub async fn handle(task: Traced, environment: Rc<Environment>) -> Result<Outcome> {
    if make_fit(&task, &environment).await? {
        task.let_go();
    }
    Ok(None)
}

/// False, and a warning, where that can't be had; the task is then as before.
pub async fn make_fit(task: &Traced, environment: &Environment) -> Result<bool> {
    if !task.has_our_filter() {
        return Ok(true);
    }
    fast_path::close(task, environment).await?;
    let why = if environment.supervisor.has_room() {
        match install(task, environment).await? {
            Ok(()) => return Ok(true),
            Err(why) => why,
        }
    } else {
        "seccomp notifications (Linux 5.6) are missing, or too many programs are traced already".to_owned()
    };
    environment.warn_once(task.tid, "letting go", || {
        format!(
            "a program can't be left to another tracer, or alone: {why}. Start fsmasq with --no-seccomp, and it can"
        )
    });
    Ok(false)
}

/// What failed is said for people.
async fn install(task: &Traced, environment: &Environment) -> Result<std::result::Result<(), String>> {
    // Before anything is done that can't be taken back: without a supervisor, the new filter says ENOSYS.
    let holder = match Holder::of(task.tid) {
        Ok(holder)
            if holder.descriptor(0).map_or_else(|e| e.raw_os_error() == Some(libc::EBADF), |_| true) =>
        {
            holder
        }
        _ => return Ok(Err("its descriptors can't be shared (pidfd_getfd)".to_owned())),
    };
    let filter = seccomp::bypass(environment.selection());
    let Some(page) = Page::with(task, environment, |address| program(task.abi, address, &filter)).await?
    else {
        return Ok(Err("it may not map memory".to_owned()));
    };
    let listener = install_at(task, environment, &page).await?;
    page.unmap(task).await?;
    let listener = match listener {
        Ok(listener) => listener,
        Err(errno) => return Ok(Err(format!("seccomp: {errno}"))),
    };
    let adopted =
        holder.descriptor(int_argument(listener)).and_then(|listener| environment.supervisor.adopt(listener));
    let _ = task.inject(Injected::Close, [listener, 0, 0, 0, 0, 0]).await?;
    // A filter can't be taken away.
    Ok(adopted.map_err(|error| format!("its filter's listener: {error}, so that its opens fail from now on")))
}

async fn install_at(
    task: &Traced,
    environment: &Environment,
    page: &Page,
) -> Result<std::result::Result<u64, nix::Error>> {
    let mut flags = NEW_LISTENER | WAIT_KILLABLE;
    let mut promised = false;
    loop {
        let arguments = [SET_MODE_FILTER, flags, page.address, 0, 0, 0];
        match task.inject(Injected::Seccomp, arguments).await? {
            Err(nix::Error::EINVAL) if flags & WAIT_KILLABLE != 0 => flags = NEW_LISTENER,
            // A filter takes privilege, or the promise to gain none.
            Err(nix::Error::EACCES) if !promised => {
                promised = true;
                environment.warn_once(task.tid, "no_new_privs", || {
                    "a program is let go that has no privilege of its own: from now on it can't gain any \
                     (no_new_privs)"
                        .to_owned()
                });
                let _ = task.inject(Injected::Prctl, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0]).await?;
            }
            answer => return Ok(answer),
        }
    }
}

/// `struct sock_fprog` (linux/filter.h) as a task of this ABI has it, and the filter behind it.
fn program(abi: Abi, address: u64, filter: &[sock_filter]) -> Vec<u8> {
    let width = abi.pointer_bytes();
    let header = 2 * width;
    let mut bytes = vec![0; header];
    bytes[..2].copy_from_slice(&u16::try_from(filter.len()).unwrap_or(0).to_ne_bytes());
    let pointer = (address + header as u64).to_ne_bytes();
    bytes[width..].copy_from_slice(&pointer[..width]);
    for instruction in filter {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_laid_out_as_the_abi_has_it() {
        let filter = [sock_filter { code: 0x0102, jt: 3, jf: 4, k: 0x0506_0708 }];
        let instruction = [2, 1, 3, 4, 8, 7, 6, 5];
        let wide = [[1, 0, 0, 0, 0, 0, 0, 0], [0x10, 0x10, 0, 0, 0, 0, 0, 0], instruction].concat();
        assert_eq!(program(Abi::X86_64, 0x1000, &filter), wide);
        let narrow = [&[1, 0, 0, 0, 8, 0x10, 0, 0][..], &instruction].concat();
        assert_eq!(program(Abi::I386, 0x1000, &filter), narrow);
    }
}

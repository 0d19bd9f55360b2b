//! Patching a site of a stopped task: a page where there is none, a stub, and the jump to it.

use super::FastPath;
use super::page::{HEADER_BYTES, Header, PAGE_BYTES, Page, SITES};
use super::site::{self, Patchable, REACH, Via};
use crate::arch::Injected;
use crate::handlers::Environment;
use crate::ptrace::{Error, Memory, Result, Stopped, Tid};
use crate::tracer::{Outcome, Traced, signals};
use std::fs;
use std::rc::Rc;

const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;
const PRIVATE_ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned() as u64;
const READ_EXECUTE: u64 = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned() as u64;
/// What the processor fetches at once, at the least: a store within is seen whole or not at all (AMD64 Architecture
/// Programmer's Manual, volume 2, 7.6.1: naturally aligned quadwords).
const WORD: u64 = 8;
const INT3: [u8; 1] = [0xCC];
/// Half of what a jump of 32 bits reaches.
const NEAR_DISTANCE: u64 = 1 << 30;

/// A task at an open that is of no interest, whose site has stopped too often.
pub async fn handle(task: Traced, environment: Rc<Environment>) -> Result<Outcome> {
    task.run_call().await?;
    let Some(fast_path) = &environment.fast_path else { return Ok(None) };
    match patch(&task, &environment).await {
        Ok(Ok(())) => fast_path.patched.set(fast_path.patched.get() + 1),
        Ok(Err(why)) => {
            fast_path.left.set(fast_path.left.get() + 1);
            tracing::trace!(tid = task.tid.0, why, "a site stays trapped");
        }
        Err(error @ Error::Died(_)) => return Err(error),
        Err(error) => {
            fast_path.left.set(fast_path.left.get() + 1);
            tracing::trace!(tid = task.tid.0, %error, "a site stays trapped");
        }
    }
    Ok(None)
}

/// Room for one more stub, in a page of the process's.
struct Room<'a> {
    page: &'a Page,
    index: usize,
    /// A page near the site that has to be jumped over.
    near: Option<u64>,
}

/// The inner error says why not.
async fn patch(task: &Traced, environment: &Environment) -> Result<std::result::Result<(), &'static str>> {
    let memory = &environment.memory;
    let Some(fast_path) = &environment.fast_path else { return Ok(Err("it is off")) };
    let found = task.with_stopped(|stopped| {
        let registers = stopped.registers()?;
        let behind = registers.instruction();
        let before = around(memory, stopped, behind, true);
        let after = around(memory, stopped, behind, false);
        Ok(site::recognise(&registers, task.call, &before, &after))
    })?;
    let Some(found) = found else { return Ok(Err("its shape is not known")) };
    let Some(room) = room(task, environment, fast_path, &found).await? else {
        return Ok(Err("there is no place for stubs"));
    };
    task.with_stopped(|stopped| write(stopped, memory, fast_path, &found, &room))
}

fn write(
    stopped: &mut Stopped,
    memory: &Memory,
    fast_path: &FastPath,
    found: &Patchable,
    room: &Room,
) -> Result<std::result::Result<(), &'static str>> {
    let &Room { page, index, near } = room;
    let slot = page.slot(index);
    let near = near.map(|near| {
        let (offset, jump) = page.near_jump(index);
        (near + offset, jump)
    });
    let via = near.as_ref().map_or(Via::Slot(slot), |(address, _)| Via::Near(*address));
    let Some(bytes) = found.bytes(via) else { return Ok(Err("stubs are too far away")) };
    let start = found.site.start;
    let at_once = threads(stopped.tid()) == 1 || is_whole(start, &bytes);
    if !at_once && !may_trap(stopped.tid()) {
        return Ok(Err("threads would notice"));
    }
    let address = page.stub_address(index);
    memory.write_read_only(stopped, u64::from(address), &page.stub(index, &found.site))?;
    memory.write_read_only(stopped, u64::from(slot), &u64::from(address).to_le_bytes())?;
    if let Some((address, jump)) = near {
        memory.write_read_only(stopped, address, &jump)?;
    }
    let used = u8::try_from(index + 1).unwrap_or(u8::MAX);
    memory.write_read_only(stopped, page.used_address(), &[used])?;
    if let Some(padding) = found.padding {
        memory.write_read_only(stopped, padding, &Patchable::far_jump(slot))?;
    }
    if at_once {
        memory.write_code(stopped, start, &bytes)?;
    } else {
        // A thread that comes to the first byte meanwhile stops, and is sent back to it.
        fast_path.remember(start);
        memory.write_code(stopped, start, &INT3)?;
        memory.write_code(stopped, start + 1, &bytes[1..])?;
        memory.write_code(stopped, start, &bytes[..1])?;
    }
    tracing::trace!(tid = stopped.tid().0, site = start, "a site is patched");
    Ok(Ok(()))
}

/// In the process's page, or in a new one. None where there is none.
async fn room<'a>(
    task: &Traced,
    environment: &Environment,
    fast_path: &'a FastPath,
    found: &Patchable,
) -> Result<Option<Room<'a>>> {
    let memory = &environment.memory;
    let has = |page: &'a Page| {
        task.with_stopped(|stopped| Ok(header(memory, stopped, page).map(|header| (page, header))))
    };
    let mut here = None;
    for page in &fast_path.pages {
        here = match here {
            None => has(page)?,
            found => found,
        };
    }
    if here.is_none() {
        for page in &fast_path.pages {
            let is_new =
                here.is_none() && map(task, u64::from(page.base), MAP_FIXED_NOREPLACE).await?.is_some();
            if is_new {
                let write = |stopped: &mut Stopped| {
                    memory.write_read_only(stopped, u64::from(page.base), &page.bytes())
                };
                task.with_stopped(write)?;
                here = has(page)?;
            }
        }
    }
    let Some((page, Header { used: index, near })) = here.filter(|(_, header)| header.used < SITES) else {
        return Ok(None);
    };
    if found.fits(page.slot(index)) {
        return Ok(Some(Room { page, index, near: None }));
    }
    if near.is_none() {
        // Far enough from where the program's next mappings go.
        let wish = found.site.start.wrapping_sub(NEAR_DISTANCE) & !(PAGE_BYTES as u64 - 1);
        let Some(near) = map(task, wish, 0).await? else { return Ok(None) };
        let known = near.to_le_bytes();
        task.with_stopped(|stopped| memory.write_read_only(stopped, page.near_address(), &known))?;
        return Ok(Some(Room { page, index, near: Some(near) }));
    }
    Ok(Some(Room { page, index, near }))
}

/// Maps a page for code: there exactly, where `flags` say so. None where that can't be had.
async fn map(task: &Traced, address: u64, flags: u64) -> Result<Option<u64>> {
    let arguments = [address, PAGE_BYTES as u64, READ_EXECUTE, PRIVATE_ANONYMOUS | flags, u64::MAX, 0];
    let Ok(mapped) = task.inject(Injected::Mmap, arguments).await? else { return Ok(None) };
    // Before Linux 4.17 such an address is a wish.
    if flags & MAP_FIXED_NOREPLACE != 0 && mapped != address {
        task.inject(Injected::Munmap, [mapped, PAGE_BYTES as u64, 0, 0, 0, 0]).await?.ok();
        return Ok(None);
    }
    Ok(Some(mapped))
}

/// What the process has in this page; None where it is not there, or not ours.
pub(super) fn header(memory: &Memory, stopped: &Stopped, page: &Page) -> Option<Header> {
    let mut bytes = [0; HEADER_BYTES];
    memory.read(stopped, u64::from(page.base), &mut bytes).ok()?;
    Page::header(bytes)
}

/// Code in front of an address, or from it on: as much as is there, up to what a short jump reaches.
fn around(memory: &Memory, stopped: &Stopped, address: u64, in_front: bool) -> Vec<u8> {
    let to_page_start = usize::try_from(address % PAGE_BYTES as u64).unwrap_or(0);
    let to_page_end = PAGE_BYTES - to_page_start;
    // The next page may not be there.
    let within = if in_front { to_page_start } else { to_page_end };
    for length in [REACH, within.min(REACH)] {
        let mut bytes = vec![0; length];
        let from = if in_front { address.wrapping_sub(length as u64) } else { address };
        if memory.read(stopped, from, &mut bytes).is_ok() {
            return bytes;
        }
    }
    Vec::new()
}

/// Whether one store writes all of it.
fn is_whole(address: u64, bytes: &[u8]) -> bool {
    address % WORD + bytes.len() as u64 <= WORD
}

/// How many threads the task's process has; many where nobody says.
fn threads(tid: Tid) -> usize {
    fs::read_dir(format!("{tid}/task")).map_or(usize::MAX, Iterator::count)
}

/// Whether no thread would notice a breakpoint: the kernel resets what a process does with a trap if a thread that
/// blocks or ignores it meets one (kernel/signal.c, force_sig_info_to_task). False where nobody says.
fn may_trap(tid: Tid) -> bool {
    let Ok(threads) = fs::read_dir(format!("{tid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let tid = thread.file_name().to_str().and_then(|name| name.parse().ok()).map(Tid);
        tid.is_some_and(|tid| signals::takes_quietly(tid, libc::SIGTRAP))
    })
}

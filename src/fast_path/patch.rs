//! Patching a site of a stopped task: a page where there is none, a stub, and the jump to it.

use super::page::{HEADER_BYTES, Header, PAGE_BYTES, Page, SITES};
use super::site::{self, Patchable, REACH, Via};
use super::{FastPath, natively, sharing};
use crate::arch::{INT3, Injected};
use crate::handlers::Environment;
use crate::ptrace::{Error, Memory, Result, Stopped};
use crate::tracer::{Outcome, Traced};
use std::rc::Rc;

const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;
const PRIVATE_ANONYMOUS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned() as u64;
const READ_EXECUTE: u64 = (libc::PROT_READ | libc::PROT_EXEC).cast_unsigned() as u64;
/// What the processor fetches at once, at the least: a store within is seen whole or not at all (AMD64 Architecture
/// Programmer's Manual, volume 2, 7.6.1: naturally aligned quadwords).
const WORD: u64 = 8;
const THREADS_WOULD_NOTICE: &str = "threads would notice";
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
    near: Option<Near>,
}

/// What a site has to jump to that can't name a slot.
#[derive(Debug, Clone, Copy)]
enum Near {
    /// The page of stubs is near enough.
    Itself,
    /// A page of jumps to it.
    Page(u64),
}

/// From one jump in such a page to the next.
pub(super) const NEAR_STEP: u64 = 16;

impl Near {
    /// The address of the jump to stub `index`.
    fn jump(self, page: &Page, index: usize) -> u64 {
        match self {
            Near::Itself => page.jump_address(index),
            Near::Page(near) => near + NEAR_STEP * index as u64,
        }
    }
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
        let is_ours = fast_path.pages.iter().any(|page| page.contains(behind));
        let found = site::recognise(&registers, task.call, &before, &after).filter(|_| !is_ours);
        Ok(found.filter(|found| sharing::is_private_code(stopped.tid(), found.site.start, found.padding)))
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
    let via = near.map_or(Via::Slot(slot), |near| Via::Near(near.jump(page, index)));
    let Some(bytes) = found.bytes(via) else { return Ok(Err("stubs are too far away")) };
    let start = found.site.start;
    let at_once = is_whole(start, &bytes) || sharing::is_alone(stopped.tid());
    if !at_once && !sharing::may_trap(stopped.tid()) {
        return Ok(Err(THREADS_WOULD_NOTICE));
    }
    let address = page.stub_address(index);
    memory.write_read_only(stopped, u64::from(address), &page.stub(index, &found.site))?;
    memory.write_read_only(stopped, u64::from(slot), &u64::from(address).to_le_bytes())?;
    if let Some(Near::Page(_)) = near
        && let Via::Near(address) = via
    {
        memory.write_read_only(stopped, address, &page.jump(index))?;
    }
    let used = u8::try_from(index + 1).unwrap_or(u8::MAX);
    memory.write_read_only(stopped, page.used_address(), &[used])?;
    if let Some(padding) = found.padding {
        memory.write_read_only(stopped, padding, &page.jump(index))?;
    }
    if at_once {
        memory.write_code(stopped, start, &bytes)?;
    } else {
        // A thread that comes to the first byte meanwhile stops, and is sent back to it.
        fast_path.remember(start);
        memory.write_code(stopped, start, &[INT3])?;
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
    let Some((page, header)) = existing(task, memory, fast_path)? else {
        return match new_page(task, memory, fast_path).await? {
            Some(page) => with_way(task, memory, page, Header { used: 0, near: None }, found).await,
            None => Ok(None),
        };
    };
    if header.used >= SITES {
        return Ok(None);
    }
    with_way(task, memory, page, header, found).await
}

/// The page that the process has.
fn existing<'a>(
    task: &Traced,
    memory: &Memory,
    fast_path: &'a FastPath,
) -> Result<Option<(&'a Page, Header)>> {
    task.with_stopped(|stopped| {
        let pages = fast_path.pages.iter();
        Ok(pages.filter_map(|page| Some((page, header(memory, stopped, page)?))).next())
    })
}

/// A page for a process that has none, or had none when this began.
async fn new_page<'a>(task: &Traced, memory: &Memory, fast_path: &'a FastPath) -> Result<Option<&'a Page>> {
    let heap = sharing::start_of_heap(task.tid);
    for page in &fast_path.pages {
        let address = u64::from(page.base);
        // The heap grows upwards, and could come no further.
        let is_in_the_way = heap.is_some_and(|heap| heap <= address);
        if is_in_the_way || map(task, address, MAP_FIXED_NOREPLACE).await?.is_none() {
            continue;
        }
        task.with_stopped(|stopped| memory.write_read_only(stopped, address, &page.bytes()))?;
        return Ok(Some(page));
    }
    Ok(None)
}

/// How a site gets to the page.
async fn with_way<'a>(
    task: &Traced,
    memory: &Memory,
    page: &'a Page,
    header: Header,
    found: &Patchable,
) -> Result<Option<Room<'a>>> {
    let index = header.used;
    let room = |near| Ok(Some(Room { page, index, near }));
    if found.fits(page.slot(index)) {
        return room(None);
    }
    if found.bytes(Via::Near(page.jump_address(index))).is_some() {
        return room(Some(Near::Itself));
    }
    if let Some(near) = header.near {
        return room(Some(Near::Page(near)));
    }
    // Far enough from where the program's next mappings go.
    let wish = found.site.start.wrapping_sub(NEAR_DISTANCE) & !(PAGE_BYTES as u64 - 1);
    let Some(near) = map(task, wish, 0).await? else { return Ok(None) };
    if found.bytes(Via::Near(near)).is_none() {
        unmap(task, near).await?;
        return Ok(None);
    }
    let known = near.to_le_bytes();
    task.with_stopped(|stopped| memory.write_read_only(stopped, page.near_address(), &known))?;
    room(Some(Near::Page(near)))
}

/// Sees to it that no task of this memory makes a call in a stub any more, and none is patched: this one is let go.
/// What is still traced is trapped, as without a fast path.
pub async fn close(task: &Traced, environment: &Environment) -> Result<()> {
    let Some(fast_path) = &environment.fast_path else { return Ok(()) };
    let memory = &environment.memory;
    if existing(task, memory, fast_path)?.is_none() && !sharing::is_alone(task.tid) {
        new_page(task, memory, fast_path).await?;
    }
    task.with_stopped(|stopped| natively::close(environment, stopped))
}

/// Maps a page for code: there exactly, where `flags` say so. None where that can't be had.
async fn map(task: &Traced, address: u64, flags: u64) -> Result<Option<u64>> {
    let arguments = [address, PAGE_BYTES as u64, READ_EXECUTE, PRIVATE_ANONYMOUS | flags, u64::MAX, 0];
    let Ok(mapped) = task.inject(Injected::Mmap, arguments).await? else { return Ok(None) };
    // Before Linux 4.17 such an address is a wish.
    if flags & MAP_FIXED_NOREPLACE != 0 && mapped != address {
        unmap(task, mapped).await?;
        return Ok(None);
    }
    Ok(Some(mapped))
}

async fn unmap(task: &Traced, address: u64) -> Result<()> {
    task.inject(Injected::Munmap, [address, PAGE_BYTES as u64, 0, 0, 0, 0]).await.map(drop)
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

//! Patching a site of a stopped task: a page where there is none, a stub, and the jump to it.

use super::page::{PAGE_BYTES, Page, SITES};
use super::site::{self, Patchable, REACH};
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

/// The inner error says why not.
async fn patch(task: &Traced, environment: &Environment) -> Result<std::result::Result<(), &'static str>> {
    let memory = &environment.memory;
    let Some(fast_path) = &environment.fast_path else { return Ok(Err("it is off")) };
    let found = task.with_stopped(|stopped| {
        let registers = stopped.registers()?;
        let behind = registers.instruction();
        let before = around(memory, stopped, behind, true);
        let after = around(memory, stopped, behind, false);
        Ok(site::recognise(behind, registers.0.r8, task.call, &before, &after))
    })?;
    let Some(found) = found else { return Ok(Err("its shape is not known")) };
    let Some((page, used)) = page(task, environment, &found).await? else {
        return Ok(Err("there is no place for stubs"));
    };
    task.with_stopped(|stopped| {
        let slot = page.slot(used);
        let alone = threads(stopped.tid()) == 1;
        if !alone && !is_whole(found.site.start, &found.bytes(slot)) && !may_trap(stopped.tid()) {
            return Ok(Err("threads would notice"));
        }
        let address = page.stub_address(used);
        memory.write_read_only(stopped, u64::from(address), &page.stub(used, &found.site))?;
        memory.write_read_only(stopped, u64::from(slot), &u64::from(address).to_le_bytes())?;
        let count = u8::try_from(used + 1).unwrap_or(u8::MAX);
        memory.write_read_only(stopped, page.used_address(), &[count])?;
        if let Some(padding) = found.padding {
            memory.write_read_only(stopped, padding, &Patchable::far_jump(slot))?;
        }
        let bytes = found.bytes(slot);
        if alone || is_whole(found.site.start, &bytes) {
            memory.write_code(stopped, found.site.start, &bytes)?;
        } else {
            // A thread that comes to the first byte meanwhile stops, and is sent back to it.
            fast_path.remember(found.site.start);
            memory.write_code(stopped, found.site.start, &INT3)?;
            memory.write_code(stopped, found.site.start + 1, &bytes[1..])?;
            memory.write_code(stopped, found.site.start, &bytes[..1])?;
        }
        tracing::trace!(tid = stopped.tid().0, site = found.site.start, "a site is patched");
        Ok(Ok(()))
    })
}

/// The page to use, and how many stubs it has: the process's own, or a new one. None where there is no room.
async fn page<'a>(
    task: &Traced,
    environment: &'a Environment,
    found: &Patchable,
) -> Result<Option<(&'a Page, usize)>> {
    let Some(fast_path) = &environment.fast_path else { return Ok(None) };
    let fitting = || fast_path.pages.iter().filter(|page| found.fits(page.slot(0)));
    for page in fitting() {
        let used = task.with_stopped(|stopped| Ok(used(&environment.memory, stopped, page)))?;
        if let Some(used) = used {
            return Ok((used < SITES).then_some((page, used)));
        }
    }
    for page in fitting() {
        let address = u64::from(page.base);
        let flags = PRIVATE_ANONYMOUS | MAP_FIXED_NOREPLACE;
        let arguments = [address, PAGE_BYTES as u64, READ_EXECUTE, flags, u64::MAX, 0];
        match task.inject(Injected::Mmap, arguments).await? {
            Ok(mapped) if mapped == address => {
                let bytes = page.bytes();
                let write =
                    |stopped: &mut Stopped| environment.memory.write_read_only(stopped, address, &bytes);
                let written = task.with_stopped(write);
                if written.is_ok() {
                    return Ok(Some((page, 0)));
                }
                task.inject(Injected::Munmap, [address, PAGE_BYTES as u64, 0, 0, 0, 0]).await?.ok();
                return written.map(|()| None);
            }
            // Before Linux 4.17 the address is a wish.
            Ok(elsewhere) => {
                task.inject(Injected::Munmap, [elsewhere, PAGE_BYTES as u64, 0, 0, 0, 0]).await?.ok();
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

/// How many stubs a process has in this page; None where it is not there, or not ours.
pub(super) fn used(memory: &Memory, stopped: &Stopped, page: &Page) -> Option<usize> {
    let mut header = [0; 16];
    memory.read(stopped, u64::from(page.base), &mut header).ok()?;
    Page::used(header)
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

//! What a task in a stub looks like natively: a signal's handler, a debugger or a core dump finds it at its site.

use super::FastPath;
use super::page::{Page, Place, SITES, Site};
use super::patch::{NEAR_STEP, header};
use crate::arch::{Call, INT3, Registers};
use crate::handlers::{Environment, open};
use crate::ptrace::{Error, Result, Stopped};

/// Whether a task met a breakpoint of ours that stood where it was going for a moment; it goes there again.
pub fn has_trapped(environment: &Environment, stopped: &mut Stopped, signal: i32) -> Result<bool> {
    let Some(fast_path) = environment.fast_path.as_ref().filter(|_| signal == libc::SIGTRAP) else {
        return Ok(false);
    };
    let mut registers = stopped.registers()?;
    let address = registers.before_instruction(1);
    if !fast_path.written.borrow().contains(&address) || !stopped.signal_is_the_kernels()? {
        return Ok(false);
    }
    let mut now = [0];
    let is_ours = environment.memory.read(stopped, address, &mut now).is_ok() && now != [INT3];
    if is_ours {
        registers.step_back(1);
        stopped.set_registers(&registers)?;
    }
    Ok(is_ours)
}

/// Moves a task that is in a stub, about to get a signal, to where it would be natively. True: the signal is a fault
/// of the stub's own, and has to be dropped.
pub fn restore(environment: &Environment, stopped: &mut Stopped, signal: i32) -> Result<bool> {
    let Some(fast_path) = &environment.fast_path else { return Ok(false) };
    let address = stopped.instruction()?;
    let Some((page, place)) = place(environment, stopped, fast_path, address)? else { return Ok(false) };
    let mut registers = stopped.registers()?;
    let is_kernels = signal == libc::SIGSYS && stopped.signal_is_of_a_filter()?;
    let is_opened = match place {
        // One that steps through its own code comes to the call in the end.
        Place::Before { .. } if signal == libc::SIGTRAP && stopped.signal_is_a_fault()? => return Ok(false),
        Place::Before { stub } => {
            registers.0.rip = site(environment, stopped, page, stub)?.start;
            false
        }
        Place::Done { stub } => {
            registers.0.rip = site(environment, stopped, page, stub)?.continuation;
            true
        }
        // A filter of the program's own took the call: nothing was opened.
        Place::Opened { stub, .. } if is_kernels => {
            registers.0.rip = site(environment, stopped, page, stub)?.continuation;
            true
        }
        Place::Opened { stub, result } => {
            let is_fault = matches!(signal, libc::SIGSEGV | libc::SIGBUS)
                && page.reads_path(&registers)
                && stopped.signal_is_a_fault()?;
            let site = site(environment, stopped, page, stub)?;
            if is_fault {
                // The path is not there any more: the tracer finds that out as well.
                page.tell(&mut registers, stub, result);
                stopped.set_registers(&registers)?;
                return Ok(true);
            }
            // On its way back from the handler it goes on to tell.
            if is_interesting(environment, stopped, page, &site, &registers, result)? {
                return Ok(false);
            }
            finish(&mut registers, &site, result);
            false
        }
        Place::Telling { .. } | Place::Other => return Ok(false),
    };
    stopped.set_registers(&registers)?;
    if is_kernels && is_opened {
        stopped.set_address_of_filtered_call(registers.0.rip)?;
    }
    Ok(false)
}

/// Moves a task that is about to be let go out of a stub, and sees to it that none makes a call there any more that
/// nobody would answer. What else shares the memory is trapped from now on, as without a fast path.
pub(super) fn close(environment: &Environment, stopped: &mut Stopped) -> Result<()> {
    let Some(fast_path) = &environment.fast_path else { return Ok(()) };
    let address = stopped.instruction()?;
    if let Some((page, place)) = place(environment, stopped, fast_path, address)? {
        let mut registers = stopped.registers()?;
        match place {
            Place::Before { stub } => registers.0.rip = site(environment, stopped, page, stub)?.start,
            Place::Done { stub } => registers.0.rip = site(environment, stopped, page, stub)?.continuation,
            Place::Opened { stub, result } | Place::Telling { stub, result } => {
                let site = site(environment, stopped, page, stub)?;
                finish(&mut registers, &site, result);
            }
            Place::Other => {}
        }
        stopped.set_registers(&registers)?;
    }
    let memory = &environment.memory;
    for page in &fast_path.pages {
        let Some(header) = header(memory, stopped, page) else { continue };
        for stub in 0..header.used.min(SITES) {
            let closed = page.closed_address(stub).to_le_bytes();
            memory.write_code(stopped, u64::from(page.slot(stub)), &closed)?;
        }
        memory.write_read_only(stopped, page.used_address(), &[u8::try_from(SITES).unwrap_or(u8::MAX)])?;
    }
    Ok(())
}

/// As if the call had just returned.
fn finish(registers: &mut Registers, site: &Site, result: i64) {
    registers.set_result(result);
    registers.0.rip = site.continuation;
    registers.0.rcx = site.continuation;
    registers.0.r11 = registers.0.eflags;
}

/// Whether somebody wants to see what has been opened.
fn is_interesting(
    environment: &Environment,
    stopped: &Stopped,
    page: &Page,
    site: &Site,
    registers: &Registers,
    result: i64,
) -> Result<bool> {
    // linux/errno.h: the kernel's own ways to have an interrupted call made again.
    let is_interrupted = (-516..=-512).contains(&result) || result == -i64::from(libc::EINTR);
    let (path, flags) = match site.call {
        Call::Open => (registers.0.rdi, registers.0.rsi),
        _ => (registers.0.rsi, registers.0.rdx),
    };
    if is_interrupted || (result < 0 && !page.takes_failures()) || page.ignores(flags) {
        return Ok(false);
    }
    match open::is_interesting(environment, stopped, path) {
        Err(error @ Error::Died(_)) => Err(error),
        answer => Ok(answer.unwrap_or(false)),
    }
}

/// The page that a task is in, or on its way to, and what that means.
fn place<'a>(
    environment: &Environment,
    stopped: &Stopped,
    fast_path: &'a FastPath,
    address: u64,
) -> Result<Option<(&'a Page, Place)>> {
    let memory = &environment.memory;
    if let Some(page) = fast_path.pages.iter().find(|page| page.contains(address)) {
        let place = page.place(&stopped.registers()?);
        return Ok(place.filter(|_| header(memory, stopped, page).is_some()).map(|place| (page, place)));
    }
    // Of a near page only the beginning of a jump can be met.
    let offset = address % super::page::PAGE_BYTES as u64;
    let stub = usize::try_from(offset / NEAR_STEP).unwrap_or(SITES);
    if !offset.is_multiple_of(NEAR_STEP) || stub >= SITES {
        return Ok(None);
    }
    let is_near = |page: &&Page| {
        header(memory, stopped, page)
            .is_some_and(|header| header.near == Some(address - offset) && stub < header.used)
    };
    Ok(fast_path.pages.iter().find(is_near).map(|page| (page, Place::Before { stub })))
}

fn site(environment: &Environment, stopped: &Stopped, page: &Page, stub: usize) -> Result<Site> {
    let mut bytes = [0; super::page::STUB_BYTES];
    environment.memory.read(stopped, u64::from(page.stub_address(stub)), &mut bytes)?;
    Ok(Page::site(&bytes))
}

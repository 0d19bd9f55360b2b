//! What a task in a stub looks like natively: a signal's handler, a debugger or a core dump finds it at its site.

use super::FastPath;
use super::page::{Page, Place, Site};
use crate::arch::Call;
use crate::handlers::{Environment, open};
use crate::ptrace::{Error, Result, Stopped};

/// Moves a task that is in a stub, about to get a signal, to where it would be natively. True: the signal is a fault
/// of the stub's own, and has to be dropped.
pub fn restore(environment: &Environment, stopped: &mut Stopped, signal: i32) -> Result<bool> {
    let Some(fast_path) = &environment.fast_path else { return Ok(false) };
    let address = stopped.instruction()?;
    let Some(page) = page_of(fast_path, address) else { return Ok(false) };
    let mut registers = stopped.registers()?;
    let is_ours = |stopped: &Stopped| super::patch::header(&environment.memory, stopped, page).is_some();
    let Some(place) = page.place(&registers).filter(|_| is_ours(stopped)) else { return Ok(false) };
    match place {
        Place::Before { stub } => registers.0.rip = site(environment, stopped, page, stub)?.start,
        Place::Done { stub } => registers.0.rip = site(environment, stopped, page, stub)?.continuation,
        Place::Opened { stub, result } => {
            let is_fault = matches!(signal, libc::SIGSEGV | libc::SIGBUS) && stopped.signal_is_a_fault()?;
            let site = site(environment, stopped, page, stub)?;
            if is_fault {
                // The path is not there any more: the tracer finds that out as well.
                page.tell(&mut registers, stub, result);
                stopped.set_registers(&registers)?;
                return Ok(true);
            }
            let path = if site.call == Call::Open { registers.0.rdi } else { registers.0.rsi };
            let flags = if site.call == Call::Open { registers.0.rsi } else { registers.0.rdx };
            let request = match (result < 0 && !page.takes_failures()) || page.ignores(flags) {
                true => Ok(false),
                false => open::is_interesting(environment, stopped, path),
            };
            match request {
                // On its way back from the handler it goes on to tell.
                Ok(true) => return Ok(false),
                Err(error @ Error::Died(_)) => return Err(error),
                Ok(false) | Err(_) => {}
            }
            registers.set_result(result);
            registers.0.rip = site.continuation;
            registers.0.rcx = site.continuation;
            registers.0.r11 = registers.0.eflags;
        }
        Place::Other => return Ok(false),
    }
    stopped.set_registers(&registers)?;
    Ok(false)
}

/// From now on nobody answers what the stubs of this task's process tell.
pub fn leave_untraced(environment: &Environment, stopped: &mut Stopped) -> Result<()> {
    let Some(fast_path) = &environment.fast_path else { return Ok(()) };
    for page in &fast_path.pages {
        if super::patch::header(&environment.memory, stopped, page).is_some() {
            environment.memory.write_read_only(stopped, page.untraced_address(), &[1])?;
        }
    }
    Ok(())
}

fn page_of(fast_path: &FastPath, address: u64) -> Option<&Page> {
    fast_path.pages.iter().find(|page| page.contains(address))
}

fn site(environment: &Environment, stopped: &Stopped, page: &Page, stub: usize) -> Result<Site> {
    let mut bytes = [0; super::page::STUB_BYTES];
    environment.memory.read(stopped, u64::from(page.stub_address(stub)), &mut bytes)?;
    Ok(Page::site(&bytes))
}

//! A stopped task's memory, by the best way that the kernel (or sandbox) has.

use super::presence::is_there;
use super::{Error, Result, Stopped};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;

/// A way to reach memory; each works where the one before it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    /// process_vm_readv(2), process_vm_writev(2): one call. gVisor of 2022 lacks it.
    ProcessVm,
    /// /proc/TID/mem: needs /proc.
    ProcMem,
    /// PTRACE_PEEKDATA, PTRACE_POKEDATA: a word a call; always there.
    Peek,
}

const PAGE_BYTES: u64 = 4096;
pub(crate) const WORD_BYTES: usize = size_of::<libc::c_long>();
/// Read first of a path: nearly all paths are shorter.
const FIRST_CHUNK_BYTES: usize = 256;

/// Access to tracees' memory. Remembers which rung the machine has.
#[derive(Debug)]
pub struct Memory {
    rung: Cell<Rung>,
    /// Whether a page may have to come from a task of this tracer.
    careful: Cell<bool>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { rung: Cell::new(Rung::ProcessVm), careful: Cell::new(false) }
    }
}

impl Memory {
    /// From now on nothing is read or written that is not there: a task has made itself a server of memory.
    pub fn be_careful(&self) {
        self.careful.set(true);
    }

    fn check_presence(&self, task: &Stopped, address: u64, len: usize) -> Result<()> {
        if self.careful.get() && !is_there(task.tid(), address, len) {
            return Err(failed("reaching the memory", task, nix::Error::EAGAIN));
        }
        Ok(())
    }

    /// Fills `buffer` from `address`; what can't be read whole is EFAULT, and EAGAIN what is not there yet (see
    /// `be_careful`).
    pub fn read(&self, task: &Stopped, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.check_presence(task, address, buffer.len())?;
        self.climb(|rung| match rung {
            Rung::ProcessVm => read_process_vm(task, address, buffer),
            Rung::ProcMem => with_proc_mem(task, |mem| mem.read_exact_at(buffer, address)),
            Rung::Peek => peek(task, address, buffer),
        })
        .map_err(|errno| failed("reading the memory", task, errno))
    }

    /// Writes `bytes` to `address`. Only for places that the kernel has just written, or would write:
    /// the lower rungs also write to read-only pages.
    pub fn write(&self, task: &mut Stopped, address: u64, bytes: &[u8]) -> Result<()> {
        task.confirm()?;
        self.check_presence(task, address, bytes.len())?;
        self.climb(|rung| match rung {
            Rung::ProcessVm => write_process_vm(task, address, bytes),
            Rung::ProcMem => with_proc_mem(task, |mem| mem.write_all_at(bytes, address)),
            Rung::Peek => poke(task, address, bytes),
        })
        .map_err(|errno| failed("writing the memory", task, errno))
    }

    /// The same where the program has made the page read-only: it gets a copy of its own.
    pub fn write_read_only(&self, task: &mut Stopped, address: u64, bytes: &[u8]) -> Result<()> {
        task.confirm()?;
        self.check_presence(task, address, bytes.len())?;
        with_proc_mem(task, |mem| mem.write_all_at(bytes, address))
            .or_else(|_| poke(task, address, bytes))
            .map_err(|errno| failed("writing the memory", task, errno))
    }

    /// Writes code that threads may be executing: each aligned word with one store.
    pub fn write_code(&self, task: &mut Stopped, address: u64, bytes: &[u8]) -> Result<()> {
        self.check_presence(task, address, bytes.len())?;
        poke(task, address, bytes).map_err(|errno| failed("writing code", task, errno))
    }

    /// The bytes before the first NUL at `address`, without it; ENAMETOOLONG from `limit` bytes on.
    pub fn read_string(&self, task: &Stopped, address: u64, limit: usize) -> Result<Vec<u8>> {
        let mut string = Vec::new();
        while string.len() < limit {
            let at = address.wrapping_add(string.len() as u64);
            // Never across a page: the next one may not be mapped, though the string ends before it.
            let to_page_end = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).unwrap_or(1);
            let start = string.len();
            string.resize(start + to_page_end.min(FIRST_CHUNK_BYTES).min(limit - start), 0);
            self.read(task, at, &mut string[start..])?;
            if let Some(nul) = string[start..].iter().position(|b| *b == 0) {
                string.truncate(start + nul);
                return Ok(string);
            }
        }
        Err(failed("reading a string", task, nix::Error::ENAMETOOLONG))
    }

    /// Tries the rung in use, and the lower ones where it can't do this access. ENOSYS is for good; any
    /// other obstacle (EPERM for an undumpable program, a /proc/TID/mem that takes no writes) may
    /// concern this access only. EFAULT is an answer, and so is the task's death; but the lowest rung says
    /// EFAULT for what may not be read as well, so that the first refusal says more.
    fn climb<T>(
        &self,
        mut access: impl FnMut(Rung) -> std::result::Result<T, nix::Error>,
    ) -> std::result::Result<T, nix::Error> {
        let mut rung = self.rung.get();
        let mut refused = None;
        loop {
            let error = match access(rung) {
                Ok(answer) => return Ok(answer),
                Err(nix::Error::EFAULT) => return Err(refused.unwrap_or(nix::Error::EFAULT)),
                Err(nix::Error::ESRCH) => return Err(nix::Error::ESRCH),
                Err(error) => error,
            };
            if matches!(error, nix::Error::EPERM | nix::Error::EACCES) {
                refused.get_or_insert(error);
            }
            let next = match rung {
                Rung::ProcessVm => Rung::ProcMem,
                Rung::ProcMem => Rung::Peek,
                Rung::Peek => return Err(refused.unwrap_or(error)),
            };
            if error == nix::Error::ENOSYS {
                self.rung.set(next);
            }
            rung = next;
        }
    }
}

fn failed(operation: &'static str, task: &Stopped, errno: nix::Error) -> Error {
    match errno {
        nix::Error::ESRCH => Error::Died(task.tid()),
        errno => Error::Failed { operation, tid: task.tid(), errno },
    }
}

type Answer = std::result::Result<(), nix::Error>;

fn remote(address: u64, len: usize) -> std::result::Result<[RemoteIoVec; 1], nix::Error> {
    let base = usize::try_from(address).map_err(|_| nix::Error::EFAULT)?;
    Ok([RemoteIoVec { base, len }])
}

fn whole(transferred: usize, wanted: usize) -> Answer {
    if transferred == wanted { Ok(()) } else { Err(nix::Error::EFAULT) }
}

fn pid(task: &Stopped) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(task.tid().0)
}

fn read_process_vm(task: &Stopped, address: u64, buffer: &mut [u8]) -> Answer {
    let len = buffer.len();
    let read = process_vm_readv(pid(task), &mut [IoSliceMut::new(buffer)], &remote(address, len)?)?;
    whole(read, len)
}

fn write_process_vm(task: &Stopped, address: u64, bytes: &[u8]) -> Answer {
    let written = process_vm_writev(pid(task), &[IoSlice::new(bytes)], &remote(address, bytes.len())?)?;
    whole(written, bytes.len())
}

fn with_proc_mem(task: &Stopped, access: impl FnOnce(&std::fs::File) -> std::io::Result<()>) -> Answer {
    let mem = OpenOptions::new().read(true).write(true).open(format!("{}/mem", task.tid()));
    mem.and_then(|mem| access(&mem)).map_err(|e| {
        // A short read has no errno; and the kernel says EIO for what is not mapped.
        match e.raw_os_error().map(nix::Error::from_raw) {
            None | Some(nix::Error::EIO) => nix::Error::EFAULT,
            Some(errno) => errno,
        }
    })
}

fn peek(task: &Stopped, address: u64, buffer: &mut [u8]) -> Answer {
    for part in aligned_words(address, buffer.len()) {
        let word = peek_word(task, part.word_address)?.to_ne_bytes();
        buffer[part.of_buffer].copy_from_slice(&word[part.of_word]);
    }
    Ok(())
}

fn poke(task: &Stopped, address: u64, bytes: &[u8]) -> Answer {
    for part in aligned_words(address, bytes.len()) {
        let mut word = [0; WORD_BYTES];
        if part.of_word.len() < WORD_BYTES {
            word = peek_word(task, part.word_address)?.to_ne_bytes();
        }
        word[part.of_word].copy_from_slice(&bytes[part.of_buffer]);
        let word = libc::c_long::from_ne_bytes(word);
        // SAFETY: changes the tracee's memory only; the data argument is the word itself.
        let answer = unsafe { libc::ptrace(libc::PTRACE_POKEDATA, task.tid().0, part.word_address, word) };
        nix::Error::result(answer).map_err(|e| if e == nix::Error::EIO { nix::Error::EFAULT } else { e })?;
    }
    Ok(())
}

/// One aligned word's share of a range of bytes.
pub(crate) struct WordPart {
    pub(crate) word_address: u64,
    pub(crate) of_word: std::ops::Range<usize>,
    pub(crate) of_buffer: std::ops::Range<usize>,
}

/// Aligned words only: an unaligned one may reach into the next page, which may not be mapped.
pub(crate) fn aligned_words(address: u64, len: usize) -> impl Iterator<Item = WordPart> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = address.wrapping_add(done as u64);
        let start = usize::try_from(at % WORD_BYTES as u64).unwrap_or(0);
        let count = (WORD_BYTES - start).min(len - done);
        let part = WordPart {
            word_address: at - start as u64,
            of_word: start..start + count,
            of_buffer: done..done + count,
        };
        done += count;
        (count > 0).then_some(part)
    })
}

fn peek_word(task: &Stopped, address: u64) -> std::result::Result<libc::c_long, nix::Error> {
    nix::Error::clear();
    // SAFETY: reads the tracee's memory only; glibc hands the word back as the result.
    let word = unsafe { libc::ptrace(libc::PTRACE_PEEKDATA, task.tid().0, address, 0) };
    match nix::Error::last_raw() {
        0 => Ok(word),
        libc::EIO => Err(nix::Error::EFAULT),
        errno => Err(nix::Error::from_raw(errno)),
    }
}

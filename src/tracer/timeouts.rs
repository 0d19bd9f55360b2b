//! How long a blocking call waits at the most, and what it answers then. A call that is made again for an ignored signal
//! would wait for its whole time each time, so that signals that keep coming would keep it for ever.
//!
//! Only calls that answer EINTR where they are interrupted: the kernel itself makes the others go on with the time that
//! is left.

use crate::arch::{Registers, int_argument};
use crate::handlers::descriptor_of;
use crate::ptrace::{Memory, Stopped, Tid};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A call's time, and its result when that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    pub after: Duration,
    pub result: i64,
}

/// arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h; libc's name for it is only there for some C libraries.
const IO_PGETEVENTS: i64 = if cfg!(target_arch = "x86_64") { 333 } else { 292 };
const TIMED_OUT: i64 = -(libc::EAGAIN as i64);
const NOTHING: i64 = 0;

/// Of the 64-bit call that the task is in; None where it waits for ever.
pub fn of_call(registers: &Registers, memory: &Memory, stopped: &Stopped) -> Option<Timeout> {
    let abi = registers.likely_abi();
    if abi.pointer_bytes() != 8 {
        return None;
    }
    let [fd, _, third, fourth, fifth, _] = registers.arguments(abi);
    let timespec = |address, result| {
        let after = read_timespec(memory, stopped, address)?;
        Some(Timeout { after, result })
    };
    let epoll = || {
        let milliseconds = u64::try_from(int_argument(fourth)).ok()?;
        Some(Timeout { after: Duration::from_millis(milliseconds), result: NOTHING })
    };
    let socket = |option| of_socket(stopped.tid(), int_argument(fd), option);
    match i64::try_from(registers.number()).ok()? {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => epoll(),
        libc::SYS_epoll_pwait => epoll(),
        libc::SYS_epoll_pwait2 => timespec(fourth, NOTHING),
        libc::SYS_io_getevents | IO_PGETEVENTS => timespec(fifth, NOTHING),
        libc::SYS_rt_sigtimedwait => timespec(third, TIMED_OUT),
        libc::SYS_semtimedop => timespec(fourth, TIMED_OUT),
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_accept
        | libc::SYS_accept4 => socket(libc::SO_RCVTIMEO),
        libc::SYS_write | libc::SYS_writev | libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_connect => {
            socket(libc::SO_SNDTIMEO)
        }
        _ => None,
    }
}

/// None for a null pointer: no limit.
fn read_timespec(memory: &Memory, stopped: &Stopped, address: u64) -> Option<Duration> {
    let mut words = [0; 16];
    memory.read(stopped, address, &mut words).ok()?;
    let word = |at: usize| words[at..at + 8].try_into().map(i64::from_ne_bytes).ok();
    Some(Duration::new(u64::try_from(word(0)?).ok()?, u32::try_from(word(8)?).ok()?))
}

/// None for what is no socket, or has no limit.
fn of_socket(tid: Tid, fd: i32, option: libc::c_int) -> Option<Timeout> {
    let socket = descriptor_of(tid, fd).ok()?;
    let mut limit = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut bytes = libc::socklen_t::try_from(size_of::<libc::timeval>()).ok()?;
    // SAFETY: the kernel writes no more than the length says.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut limit).cast(),
            &raw mut bytes,
        )
    };
    let after = Duration::from_secs(u64::try_from(limit.tv_sec).ok()?)
        + Duration::from_micros(u64::try_from(limit.tv_usec).ok()?);
    (answer == 0 && !after.is_zero()).then_some(Timeout { after, result: TIMED_OUT })
}

//! The calls: each with what it waits for, and what ends it.

use super::parts::*;
use super::path_in;
use std::os::fd::IntoRawFd;

/// The name, whether the timeout alone ends it, how to make it.
pub type Trial = (&'static str, bool, fn(&Around) -> Call);

pub const TRIALS: &[Trial] = &[
    ("epoll_wait", true, |around| {
        let ((ours, theirs), time) = (sockets(), around.milliseconds());
        let epoll = epoll(ours);
        call(
            move || syscall!(libc::SYS_epoll_wait, epoll, [event()].as_mut_ptr(), 1, time),
            move |_| write_byte(theirs),
        )
    }),
    ("epoll_pwait", true, |around| {
        let ((ours, theirs), time) = (sockets(), around.milliseconds());
        let epoll = epoll(ours);
        let mask = 1u64;
        call(
            move || {
                syscall!(libc::SYS_epoll_pwait, epoll, [event()].as_mut_ptr(), 1, time, &raw const mask, 8)
            },
            move |_| write_byte(theirs),
        )
    }),
    ("epoll_pwait2", true, |around| {
        let ((ours, theirs), time) = (sockets(), around.timespec());
        let epoll = epoll(ours);
        call(
            move || syscall!(libc::SYS_epoll_pwait2, epoll, [event()].as_mut_ptr(), 1, &raw const time, 0, 8),
            move |_| write_byte(theirs),
        )
    }),
    ("poll", true, |around| {
        let ((read, write), time) = (pipe(), around.milliseconds());
        call(
            move || syscall!(libc::SYS_poll, [polled(read)].as_mut_ptr(), 1, time),
            move |_| write_byte(write),
        )
    }),
    ("ppoll", true, |around| {
        let ((read, write), time) = (pipe(), around.timespec());
        call(
            move || {
                let mut time = time;
                syscall!(libc::SYS_ppoll, [polled(read)].as_mut_ptr(), 1, &raw mut time, 0, 8)
            },
            move |_| write_byte(write),
        )
    }),
    ("select", true, |around| {
        let ((read, write), time) = (pipe(), around.timeval());
        call(
            move || {
                let (mut time, mut set) = (time, [0u64; 16]);
                set[0] = 1 << read;
                syscall!(libc::SYS_select, read + 1, set.as_mut_ptr(), 0, 0, &raw mut time)
            },
            move |_| write_byte(write),
        )
    }),
    ("pselect6", true, |around| {
        let ((read, write), time) = (pipe(), around.timespec());
        call(
            move || {
                let (mut time, mut set) = (time, [0u64; 16]);
                set[0] = 1 << read;
                syscall!(libc::SYS_pselect6, read + 1, set.as_mut_ptr(), 0, 0, &raw mut time, 0)
            },
            move |_| write_byte(write),
        )
    }),
    ("recv", false, |_| {
        let (ours, theirs) = sockets();
        call(
            move || syscall!(libc::SYS_recvfrom, ours, [0u8; 8].as_mut_ptr(), 8, 0, 0, 0),
            move |_| write_byte(theirs),
        )
    }),
    ("recv with a timeout", true, |around| {
        let (ours, theirs) = sockets();
        with_timeout(ours, libc::SO_RCVTIMEO, around);
        call(
            move || syscall!(libc::SYS_recvfrom, ours, [0u8; 8].as_mut_ptr(), 8, 0, 0, 0),
            move |_| write_byte(theirs),
        )
    }),
    ("read with a socket's timeout", true, |around| {
        let (ours, theirs) = sockets();
        with_timeout(ours, libc::SO_RCVTIMEO, around);
        call(move || read_some(ours), move |_| write_byte(theirs))
    }),
    ("recvmsg with a timeout", true, |around| {
        let (ours, theirs) = sockets();
        with_timeout(ours, libc::SO_RCVTIMEO, around);
        call(
            move || {
                let mut bytes = [0u8; 8];
                let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 8 };
                // SAFETY: plain integers and null pointers.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
                syscall!(libc::SYS_recvmsg, ours, &raw mut header, 0)
            },
            move |_| write_byte(theirs),
        )
    }),
    ("accept with a timeout", true, |around| {
        let fd = with_timeout(listener(), libc::SO_RCVTIMEO, around);
        let other = socket(0);
        call(
            move || syscall!(libc::SYS_accept4, fd, 0, 0, 0).min(0),
            move |_| {
                connect_to(other);
            },
        )
    }),
    ("connect with a timeout", true, |around| {
        let listener = listener();
        while connect(socket(libc::SOCK_NONBLOCK)) == 0 {}
        let fd = with_timeout(socket(0), libc::SO_SNDTIMEO, around);
        call(move || connect(fd), move |_| assert!(syscall!(libc::SYS_accept4, listener, 0, 0, 0) > 0))
    }),
    ("send with a timeout", true, |around| {
        let (ours, theirs) = sockets();
        with_timeout(ours, libc::SO_SNDTIMEO, around);
        let block = vec![0u8; 65536];
        while syscall!(libc::SYS_sendto, ours, block.as_ptr(), 65536, libc::MSG_DONTWAIT, 0, 0) > 0 {}
        while syscall!(libc::SYS_sendto, ours, block.as_ptr(), 1, libc::MSG_DONTWAIT, 0, 0) > 0 {}
        call(
            move || syscall!(libc::SYS_sendto, ours, b"x".as_ptr(), 1, 0, 0, 0),
            move |_| {
                let mut room = vec![0u8; 65536];
                while syscall!(libc::SYS_recvfrom, theirs, room.as_mut_ptr(), 65536, libc::MSG_DONTWAIT, 0, 0)
                    > 0
                {}
            },
        )
    }),
    ("sigtimedwait", true, |around| {
        let (set, time) = (blocked(), around.timespec());
        call(move || syscall!(libc::SYS_rt_sigtimedwait, &raw const set, 0, &raw const time, 8), tell)
    }),
    ("sigwaitinfo", false, |_| {
        let set = blocked();
        call(move || syscall!(libc::SYS_rt_sigtimedwait, &raw const set, 0, 0, 8), tell)
    }),
    ("semtimedop", true, |around| {
        let (semaphore, time) = (semaphore(), around.timespec());
        call(move || wait_at(semaphore, &raw const time), move |_| raise_semaphore(semaphore))
    }),
    ("semop", false, |_| {
        let semaphore = semaphore();
        call(move || wait_at(semaphore, std::ptr::null()), move |_| raise_semaphore(semaphore))
    }),
    ("msgrcv", false, |_| {
        let queue = queue();
        call(
            move || and_remove(queue, receive_message(queue)),
            move |_| assert_eq!(send_message(queue, 0), 0),
        )
    }),
    ("msgsnd", false, |_| {
        let queue = queue();
        while send_message(queue, libc::IPC_NOWAIT) == 0 {}
        call(
            move || and_remove(queue, send_message(queue, 0)),
            move |_| assert_eq!(receive_message(queue), 1024),
        )
    }),
    ("io_getevents", true, |around| {
        let ((read, write), time) = (pipe(), around.timespec());
        let mut context = 0u64;
        assert_eq!(syscall!(libc::SYS_io_setup, 1, &raw mut context), 0);
        // IOCB_CMD_POLL (linux/aio_abi.h), for POLLIN.
        let request = [0, 0, 5 | u64::from(read.cast_unsigned()) << 32, 1, 0, 0, 0, 0];
        let words: &'static mut [u64; 8] = Box::leak(Box::new(request));
        let pointers = [words.as_mut_ptr()];
        let submitted = syscall!(libc::SYS_io_submit, context, 1, pointers.as_ptr());
        call(
            move || {
                let mut events = [0u64; 4];
                let answer =
                    syscall!(libc::SYS_io_getevents, context, 1, 1, events.as_mut_ptr(), &raw const time);
                if submitted == 1 { answer } else { submitted }
            },
            move |_| write_byte(write),
        )
    }),
    ("futex", false, |_| call(|| futex(libc::FUTEX_WAIT, std::ptr::null()), |_| wake())),
    ("futex with a timeout", true, |around| {
        let time = around.timespec();
        call(move || futex(libc::FUTEX_WAIT, &raw const time), |_| wake())
    }),
    ("futex until a time", true, |around| {
        let until = from_now(around);
        call(move || futex(FUTEX_WAIT_BITSET, &raw const until), |_| wake())
    }),
    ("nanosleep", true, |around| {
        let time = around.timespec();
        call(move || syscall!(libc::SYS_nanosleep, &raw const time, 0), kill_sleeper)
    }),
    ("clock_nanosleep", true, |around| {
        let until = from_now(around);
        let (clock, flags) = (libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME);
        call(move || syscall!(libc::SYS_clock_nanosleep, clock, flags, &raw const until, 0), kill_sleeper)
    }),
    ("pause", false, |_| call(|| syscall!(libc::SYS_pause,), tell)),
    ("sigsuspend", false, |_| {
        blocked();
        let none = 0u64;
        call(move || syscall!(libc::SYS_rt_sigsuspend, &raw const none, 8), tell)
    }),
    ("read of a pipe", false, |_| {
        let (read, write) = pipe();
        call(move || read_some(read), move |_| write_byte(write))
    }),
    ("read of an eventfd", false, |_| {
        let fd = syscall!(libc::SYS_eventfd2, 0, 0) as i32;
        call(move || read_some(fd), move |_| write_byte(fd))
    }),
    ("read of a timerfd", false, |_| {
        let fd = syscall!(libc::SYS_timerfd_create, libc::CLOCK_MONOTONIC, 0) as i32;
        let soon = [0i64, 0, 0, 1];
        call(
            move || read_some(fd),
            move |_| assert_eq!(syscall!(libc::SYS_timerfd_settime, fd, 0, soon.as_ptr(), 0), 0),
        )
    }),
    ("read of a signalfd", false, |_| {
        let set = blocked();
        let fd = syscall!(libc::SYS_signalfd4, -1, &raw const set, 8, 0) as i32;
        call(move || syscall!(libc::SYS_read, fd, [0u8; 128].as_mut_ptr(), 128), tell)
    }),
    ("read of an inotify descriptor", false, |around| {
        let fd = syscall!(libc::SYS_inotify_init1, 0) as i32;
        let path = path_in(&around.folder, "watched");
        assert_eq!(syscall!(libc::SYS_mkdir, path.as_ptr(), 0o700), 0);
        assert!(syscall!(libc::SYS_inotify_add_watch, fd, path.as_ptr(), libc::IN_DELETE_SELF) >= 0);
        call(
            move || syscall!(libc::SYS_read, fd, [0u8; 512].as_mut_ptr(), 512).min(1),
            move |_| assert_eq!(syscall!(libc::SYS_rmdir, path.as_ptr()), 0),
        )
    }),
    ("read of a terminal", false, |_| {
        let pty = nix::pty::openpty(None, None).unwrap();
        let (master, slave) = (pty.master.into_raw_fd(), pty.slave.into_raw_fd());
        call(
            move || read_some(slave),
            move |_| assert_eq!(syscall!(libc::SYS_write, master, b"line\n".as_ptr(), 5), 5),
        )
    }),
    ("open of a FIFO", false, |around| fifo(around, "fifo")),
    ("open of a FIFO with a table's name", false, |around| fifo(around, "mounts")),
    ("flock", false, |around| {
        let flags = libc::O_RDWR | libc::O_CREAT;
        let (one, other) = (file(around, "flock", flags), file(around, "flock", flags));
        assert_eq!(syscall!(libc::SYS_flock, one, libc::LOCK_EX), 0);
        call(
            move || syscall!(libc::SYS_flock, other, libc::LOCK_EX),
            move |_| assert_eq!(syscall!(libc::SYS_flock, one, libc::LOCK_UN), 0),
        )
    }),
    ("F_OFD_SETLKW", false, |around| {
        let flags = libc::O_RDWR | libc::O_CREAT;
        let (one, other) = (file(around, "ofd", flags), file(around, "ofd", flags));
        assert_eq!(lock(one, libc::F_OFD_SETLKW, libc::F_WRLCK), 0);
        call(
            move || lock(other, libc::F_OFD_SETLKW, libc::F_WRLCK),
            move |_| assert_eq!(lock(one, libc::F_OFD_SETLKW, libc::F_UNLCK), 0),
        )
    }),
    ("F_SETLKW", false, |around| {
        let fd = file(around, "lock", libc::O_RDWR | libc::O_CREAT);
        let ((gate, open), (there, ready)) = (pipe(), pipe());
        // SAFETY: one thread.
        if unsafe { libc::fork() } == 0 {
            super::die_with_the_parent();
            assert_eq!(lock(fd, libc::F_SETLKW, libc::F_WRLCK), 0);
            write_byte(ready);
            read_some(gate);
            // SAFETY: as above.
            unsafe { libc::_exit(0) }
        }
        read_some(there);
        call(move || lock(fd, libc::F_SETLKW, libc::F_WRLCK), move |_| write_byte(open))
    }),
    ("wait4", false, |_| {
        let (child, gate) = child();
        call(move || syscall!(libc::SYS_wait4, child, 0, 0, 0).min(1), move |_| write_byte(gate))
    }),
    ("waitid", false, |_| {
        let (child, gate) = child();
        call(
            move || syscall!(libc::SYS_waitid, libc::P_PID, child, 0, libc::WEXITED, 0),
            move |_| write_byte(gate),
        )
    }),
    ("mq_timedreceive", true, |around| {
        let name = super::string(&format!("/fsmasq-test-{}", std::process::id()));
        let until = wall_clock_from_now(around);
        // SAFETY: plain integers.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        (attributes.mq_maxmsg, attributes.mq_msgsize) = (1, 8);
        let flags = libc::O_RDWR | libc::O_CREAT;
        // The kernel's names have no slash in front.
        let bare = name.as_c_str()[1..].as_ptr();
        let queue = syscall!(libc::SYS_mq_open, bare, flags, 0o600, &raw const attributes);
        syscall!(libc::SYS_mq_unlink, bare);
        call(
            move || {
                let mut bytes = [0u8; 8];
                syscall!(libc::SYS_mq_timedreceive, queue, bytes.as_mut_ptr(), 8, 0, &raw const until)
            },
            move |_| {
                syscall!(libc::SYS_mq_timedsend, queue, b"x".as_ptr(), 1, 0, 0);
            },
        )
    }),
];

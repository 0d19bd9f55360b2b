//! Programs that change things under the tracer's hands. They say what came of it for themselves; that the tracer
//! and everybody else came through, the tests see.

use super::calls::{checked, open, string};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Where the objects are kept that are put in place of others: far from the numbers that opens take.
const KEPT: RawFd = 60;

/// Tells two runs apart that have the same id, each in a process namespace of its own.
fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

fn lowest_free() -> RawFd {
    open("/dev/null", libc::O_RDONLY).unwrap().as_raw_fd()
}

/// An object of every kind, held in a way that opens nothing, under a name that a careless reader trusts.
fn odd_objects(folder: &str, with_fifo: bool) -> Vec<OwnedFd> {
    let at = |kind: &str, name: &str| {
        fs::create_dir_all(format!("{folder}/{kind}")).unwrap();
        format!("{folder}/{kind}/{name}")
    };
    let mode = nix::sys::stat::Mode::S_IRWXU;
    nix::unistd::mkfifo(at("fifo", "mountinfo").as_str(), mode).unwrap();
    File::create(at("huge", "mounts")).unwrap().set_len(1 << 40).unwrap();
    fs::create_dir(at("folder", "mountstats")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(at("socket", "mounts")).unwrap();
    let held = |path: String| open(&path, libc::O_PATH).unwrap();
    let mut objects = vec![
        held(at("huge", "mounts")),
        held(at("folder", "mountstats")),
        held(at("socket", "mounts")),
        held("/dev/zero".into()),
        held("/dev/null".into()),
        held("/proc/self/environ".into()),
    ];
    objects.push(listener.into());
    if with_fifo {
        // Nothing else then: who opens one of the numbers at the wrong moment opens the FIFO.
        objects = (0..8).map(|_| held(at("fifo", "mountinfo"))).collect();
    }
    objects
}

/// While one thread (or a process with the same descriptors) opens tables, another one puts other objects under
/// the numbers that the tracer works with. A FIFO among them must never get a reader: a writer who doesn't wait
/// is told so by ENXIO.
pub fn swapped(sibling: &str, folder: &str, path: &str, rounds: usize, with_fifo: bool) {
    let folder = &format!("{folder}/{}-{}", std::process::id(), now());
    let objects = odd_objects(folder, with_fifo);
    let kept: Vec<RawFd> = (KEPT..).take(objects.len()).collect();
    for (object, number) in objects.into_iter().zip(&kept) {
        // SAFETY: no pointers; the old descriptor is given up.
        unsafe { libc::dup2(object.into_raw_fd(), *number) };
    }
    let first = lowest_free();
    let swap = |stop: &AtomicBool| {
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            for number in first..first + 3 {
                turn += 1;
                // SAFETY: no pointers; these numbers are nobody's own.
                unsafe {
                    // Only what is there is replaced, so that the other thread gets new ones from the kernel.
                    if libc::fcntl(number, libc::F_GETFD) != -1 {
                        libc::syscall(libc::SYS_dup2, kept[turn % kept.len()], number);
                    }
                }
            }
        }
    };
    // Seen by the process that shares the memory as well.
    let stop = AtomicBool::new(false);
    let fifo = string(&format!("{folder}/fifo/mountinfo"));
    let readers = AtomicU32::new(0);
    let work = || {
        for _ in 0..rounds {
            let _ = open(path, libc::O_RDONLY).map(IntoRawFd::into_raw_fd);
            for number in first..KEPT {
                // SAFETY: no pointers; nobody's own.
                unsafe { libc::close(number) };
            }
            // Which error it is can't be told beside a process that shares the place of errno.
            // SAFETY: a string that ends in NUL.
            let writer = unsafe {
                libc::syscall(
                    libc::SYS_openat,
                    libc::AT_FDCWD,
                    fifo.as_ptr(),
                    libc::O_WRONLY | libc::O_NONBLOCK,
                )
            };
            if writer != -1 {
                readers.fetch_add(1, Ordering::Relaxed);
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    if sibling == "process" {
        beside_a_process(|| swap(&stop), work);
    } else {
        std::thread::scope(|scope| {
            scope.spawn(|| swap(&stop));
            work();
        });
    }
    for number in first..KEPT {
        // SAFETY: as above.
        unsafe { libc::close(number) };
    }
    let open_now: Vec<RawFd> =
        // SAFETY: no pointers.
        (first..200).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1).collect();
    assert_eq!(open_now, kept, "what was kept is still there, and nothing more");
    assert_eq!(readers.into_inner(), 0, "the FIFO had a reader");
    assert!(fs::read(path).unwrap().len() > 100);
    println!("unharmed");
}

/// Runs `other` in a process that shares memory and descriptors, and no thread group.
fn beside_a_process(other: impl Fn(), work: impl Fn()) {
    let mut stack = vec![0u8; 256 << 10];
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD;
    extern "C" fn run(argument: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the parent waits for this process, with what the pointer leads to.
        unsafe { (*argument.cast::<&dyn Fn()>())() };
        0
    }
    let mut other: &dyn Fn() = &other;
    // SAFETY: a stack of its own, of which the end is given; the argument outlives the process.
    let child = unsafe {
        let end = stack.as_mut_ptr().add(stack.len() & !15);
        libc::clone(run, end.cast(), flags, (&raw mut other).cast())
    };
    assert!(child > 0);
    work();
    let mut status = 0;
    // SAFETY: a local variable.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

/// In a mount namespace of its own, with a root folder that holds an object under any name: a sibling puts it
/// on the number (so many behind the table's) that the tracer trusts.
pub fn posing(object: &str, base: &str, folder: &str, name: &str, behind: i32, rounds: usize) {
    use nix::mount::{MsFlags, mount};
    let none = None::<&str>;
    mount(Some("pose"), base, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let place = format!("{base}/{folder}/{name}");
    fs::create_dir(format!("{base}/{folder}")).unwrap();
    File::create(&place).unwrap();
    mount(Some(object), place.as_str(), none, MsFlags::MS_BIND, none).unwrap();
    fs::create_dir(format!("{base}/old")).unwrap();
    nix::unistd::pivot_root(base, format!("{base}/old").as_str()).unwrap();
    std::env::set_current_dir("/").unwrap();
    let held = open(&format!("/{folder}/{name}"), libc::O_PATH).unwrap();
    // SAFETY: no pointers.
    unsafe { libc::dup2(held.into_raw_fd(), KEPT) };
    let first = open("/old/dev/null", libc::O_RDONLY).unwrap().as_raw_fd();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: no pointers.
                unsafe {
                    if libc::fcntl(first + behind, libc::F_GETFD) != -1 {
                        libc::dup2(KEPT, first + behind);
                    }
                }
            }
        });
        for _ in 0..rounds {
            let _ = open("/old/proc/self/mountinfo", libc::O_RDONLY).map(IntoRawFd::into_raw_fd);
            for number in first..first + 3 {
                // SAFETY: no pointers; nobody's own.
                unsafe { libc::close(number) };
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("unharmed");
}

fn map(pages: usize) -> *mut u8 {
    // SAFETY: a new mapping, where the kernel likes.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            pages * 4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}

/// statfs into places where the struct fits, half fits, or may not be written.
pub fn edges(path: &str) {
    let name = string(path);
    let statfs = |buffer: usize| {
        // SAFETY: a string that ends in NUL; the kernel checks the buffer.
        checked(unsafe { libc::syscall(libc::SYS_statfs, name.as_ptr(), buffer) })
    };
    let pages = map(3);
    // SAFETY: the second of three pages of ours.
    let (end, filled) = unsafe {
        std::ptr::write_bytes(pages, 0xA5, 4096);
        libc::munmap(pages.add(4096).cast(), 4096);
        (pages.add(4096) as usize, std::slice::from_raw_parts(pages, 4096))
    };
    for behind in [120, 119, 60, 4, 1, 0] {
        println!("{behind} bytes before the end: {:?}", statfs(end - behind));
    }
    assert!(filled[..4096 - 120].iter().all(|b| *b == 0xA5), "bytes in front of the struct");
    println!("at the last page's beginning: {:?}", statfs(end + 4096));
    println!("at the end of what is not mapped: {:?}", statfs(end + 4096 - 4));
    // SAFETY: the page is ours; nobody writes to it any more.
    unsafe { libc::mprotect(pages.cast(), 4096, libc::PROT_READ) };
    println!("read-only: {:?}", statfs(end - 2000));
    // SAFETY: as above.
    unsafe { libc::mprotect(pages.cast(), 4096, libc::PROT_NONE) };
    println!("not accessible: {:?}", statfs(end - 2000));
    for address in
        [0, 1, 0x7fff_ffff_f000, 0x8000_0000_0000, 0xffff_8000_0000_0000, 0xffff_ffff_ff60_0000, usize::MAX]
    {
        println!("{address:#x}: {:?}", statfs(address));
    }
    let code = edges as *const () as usize & !4095;
    println!("code: {:?}", statfs(code));
    // One buffer for two threads at once: what is around it stays.
    let mut shared = [0x5Au8; 64 + 120 + 64];
    let at = shared.as_mut_ptr() as usize + 64;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..500).for_each(|_| assert_eq!(statfs(at), Ok(0))));
        }
    });
    assert!(shared[..64].iter().chain(&shared[184..]).all(|b| *b == 0x5A), "around the struct");
}

/// A page that comes, goes and becomes read-only while calls write there.
pub fn moving_buffer(path: &str) {
    let name = string(path);
    let pages = map(2);
    let stop = AtomicBool::new(false);
    let address = pages as usize;
    // SAFETY: the second page stays as it is.
    let canary = unsafe {
        std::ptr::write_bytes(pages.add(4096), 0xA5, 4096);
        std::slice::from_raw_parts(pages.add(4096), 4096)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let page = address as *mut libc::c_void;
            while !stop.load(Ordering::Relaxed) {
                // SAFETY: a page of ours that nobody else refers to.
                unsafe {
                    libc::mprotect(page, 4096, libc::PROT_READ);
                    libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE);
                    libc::munmap(page, 4096);
                    libc::mmap(
                        page,
                        4096,
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                        -1,
                        0,
                    );
                }
            }
        });
        for _ in 0..3000 {
            // SAFETY: the kernel checks the buffer.
            let result =
                checked(unsafe { libc::syscall(libc::SYS_statfs, name.as_ptr(), address + 4096 - 120) });
            assert!(matches!(result, Ok(0) | Err(libc::EFAULT)), "{result:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(canary.iter().all(|b| *b == 0xA5), "the next page");
    println!("unharmed");
}

/// A path that another thread rewrites all the time, through memory and through /proc/self/mem.
pub fn rewritten_path(path: &str) {
    let other = "/proc/self/status";
    let length = path.len().max(other.len()) + 1;
    let padded = |text: &str| [text.as_bytes(), &vec![0; length - text.len()]].concat();
    let texts = [padded(path), padded(other)];
    let place = map(1);
    // SAFETY: room for either text.
    unsafe { std::ptr::copy_nonoverlapping(texts[0].as_ptr(), place, length) };
    let stop = AtomicBool::new(false);
    let address = place as usize;
    let before = lowest_free();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let memory = fs::OpenOptions::new().write(true).open("/proc/self/mem").unwrap();
            while !stop.load(Ordering::Relaxed) {
                for text in &texts {
                    memory.write_all_at(text, address as u64).unwrap();
                }
            }
        });
        for _ in 0..500 {
            // SAFETY: always a path, or a mixture that ends in NUL.
            let result = checked(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, address, 0) });
            if let Ok(fd) = result {
                let mut text = Vec::new();
                // SAFETY: a call has just answered with it.
                let mut file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd as RawFd) };
                file.read_to_end(&mut text).unwrap();
                assert!(text.len() > 100, "half a file");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(lowest_free(), before);
    println!("unharmed");
}

/// A path on a page that userfaultfd never serves: its reader waits for ever, and nobody else does.
pub fn unserved_page(path: &str) {
    const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
    // SAFETY: structs of three and four words, as linux/userfaultfd.h has them.
    unsafe {
        let fault = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) as RawFd;
        assert!(fault >= 0, "{}", std::io::Error::last_os_error());
        let mut api = [0xaau64, 0, 0];
        assert_eq!(libc::ioctl(fault, UFFDIO_API, api.as_mut_ptr()), 0);
        let page = map(1) as usize;
        let mut range = [page as u64, 4096, 1, 0];
        assert_eq!(libc::ioctl(fault, UFFDIO_REGISTER, range.as_mut_ptr()), 0);
        std::thread::spawn(move || libc::syscall(libc::SYS_openat, libc::AT_FDCWD, page, 0));
        // The descriptor says when somebody waits for the page: the tracer, or the thread itself.
        let mut event = [0u8; 32];
        assert_eq!(libc::read(fault, event.as_mut_ptr().cast(), 32), 32);
    }
    std::io::stdout().write_all(&fs::read(path).unwrap()).unwrap();
    std::io::stdout().flush().unwrap();
    // SAFETY: the other thread waits for ever.
    unsafe { libc::_exit(0) };
}

/// What a user may do to a tracer that is not theirs.
pub fn attack(path: &str) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let tracer: i32 =
        status.lines().find_map(|l| l.strip_prefix("TracerPid:\t")).unwrap().trim().parse().unwrap();
    assert!(tracer > 0);
    // SAFETY: no pointers but to local variables.
    unsafe {
        for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGTERM, libc::SIGUSR1, 0] {
            println!("kill {signal}: {:?}", checked(libc::syscall(libc::SYS_kill, tracer, signal)));
        }
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        println!(
            "prlimit: {:?}",
            checked(libc::syscall(libc::SYS_prlimit64, tracer, libc::RLIMIT_NOFILE, &raw const none, 0))
        );
        println!("seize: {:?}", checked(libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, tracer, 0, 0)));
        let mut byte = 0u8;
        let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        println!(
            "memory: {:?}",
            checked(libc::syscall(
                libc::SYS_process_vm_readv,
                tracer,
                &raw const local,
                1,
                &raw const local,
                1,
                0
            ))
        );
        println!("pidfd_getfd: {:?}", {
            let pidfd = libc::syscall(libc::SYS_pidfd_open, tracer, 0);
            checked(libc::syscall(libc::SYS_pidfd_getfd, pidfd, 0, 0))
        });
        println!("priority: {:?}", checked(libc::syscall(libc::SYS_setpriority, 0, tracer, 19)));
    }
    println!(
        "fd: {:?}",
        fs::read_dir(format!("/proc/{tracer}/fd")).map(|_| ()).map_err(|e| e.raw_os_error())
    );
    println!("mem: {:?}", open(&format!("/proc/{tracer}/mem"), libc::O_RDWR).map(|_| ()));
    assert!(fs::read(path).unwrap().len() > 100);
}

//! Seccomp filters of a program's own, as containers and browsers have them.

use super::calls::checked;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Installs a filter and becomes a command: `CALL,CALL… ACTION COMMAND ARGUMENTS…`, where the action is
/// `errno`, `trap`, `kill` or `trace`.
pub fn deny(arguments: &[String]) {
    let [calls, action, program, rest @ ..] = arguments else { panic!("deny CALLS ACTION COMMAND") };
    install(calls, action);
    let error = Command::new(program).args(rest).exec();
    panic!("{program}: {error}");
}

/// The program's own filter asks for a tracer, which natively nobody is.
pub fn own_trace() {
    install("getppid,statfs", "trace");
    // SAFETY: null pointers, which the call does not come to read.
    let (getppid, statfs) = unsafe {
        (checked(libc::syscall(libc::SYS_getppid)), checked(libc::syscall(libc::SYS_statfs, 0, 0)))
    };
    println!("getppid {getppid:?}, statfs {statfs:?}");
}

fn install(calls: &str, action: &str) {
    let action = match action {
        "errno" => libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(),
        "trap" => libc::SECCOMP_RET_TRAP,
        "kill" => libc::SECCOMP_RET_KILL_PROCESS,
        "trace" => libc::SECCOMP_RET_TRACE,
        other => panic!("no action {other}"),
    };
    let statement =
        |code: u32, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap(), jt: 0, jf, k };
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for call in calls.split(',') {
        let number = u32::try_from(number(call)).unwrap();
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number));
        program.push(statement(libc::BPF_RET | libc::BPF_K, 0, action));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let filter =
        libc::sock_fprog { len: u16::try_from(program.len()).unwrap(), filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

fn number(call: &str) -> libc::c_long {
    match call {
        "dup3" => libc::SYS_dup3,
        "getppid" => libc::SYS_getppid,
        "memfd_create" => libc::SYS_memfd_create,
        "mmap" => libc::SYS_mmap,
        "pidfd_getfd" => libc::SYS_pidfd_getfd,
        "pidfd_open" => libc::SYS_pidfd_open,
        "process_vm_readv" => libc::SYS_process_vm_readv,
        "process_vm_writev" => libc::SYS_process_vm_writev,
        "ptrace" => libc::SYS_ptrace,
        "seccomp" => libc::SYS_seccomp,
        "statfs" => libc::SYS_statfs,
        other => panic!("no call {other}"),
    }
}

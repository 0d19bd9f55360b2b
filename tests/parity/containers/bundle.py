"""Writes an OCI bundle's config.json: bundle.py RUNC BUNDLE ROOT KIND COMMAND. Kinds: plain, seccomp, userns; joined by +."""

import json
import os
import subprocess
import sys

# In the manner of a container engine's default: a list of what is allowed.
ALLOWED = """accept accept4 access alarm arch_prctl bind brk capget capset chdir chmod chown clock_getres clock_gettime
clock_nanosleep clone close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl
epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod
fchmodat fchown fchownat fcntl fdatasync flock fork fstat fstatfs fsync ftruncate futex get_robust_list getcwd getdents64
getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit
getrusage getsid getsockname getsockopt gettid gettimeofday getuid ioctl kill lchown link linkat listen lseek lstat madvise
memfd_create mkdir mkdirat mknod mknodat mmap mprotect mremap msync munmap nanosleep newfstatat open openat openat2 pause
pipe pipe2 poll ppoll prctl pread64 prlimit64 pselect6 pwrite64 read readlink readlinkat readv recvfrom recvmsg rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend
rt_sigtimedwait sched_getaffinity sched_yield select sendfile sendmsg sendto set_robust_list set_tid_address setgid
setgroups setitimer setpgid setpriority setresgid setresuid setrlimit setsid setsockopt setuid shutdown sigaltstack socket
socketpair stat statfs statx symlink symlinkat sysinfo tgkill time times truncate umask uname unlink unlinkat utimensat
vfork wait4 waitid write writev""".split()
CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]

runc, bundle, root, kind, command = sys.argv[1:]
config = os.path.join(bundle, "config.json")
if os.path.exists(config):
    os.unlink(config)
subprocess.run([runc, "spec", "--bundle", bundle], check=True)
with open(config) as file:
    spec = json.load(file)
process = spec["process"]
process.update(terminal=False, args=["sh", "-c", command], noNewPrivileges=kind != "plain")
process["capabilities"] = {of: CAPABILITIES for of in ("bounding", "effective", "permitted")}
spec["root"]["path"] = root
# A name that no other run has: cgroups are the machine's.
spec["linux"]["cgroupsPath"] = "/fsmasq-parity-" + os.environ["CONTAINER"]
if "userns" in kind:
    spec["linux"]["namespaces"].append({"type": "user"})
    for ids in ("uidMappings", "gidMappings"):
        spec["linux"][ids] = [{"containerID": 0, "hostID": 0, "size": 65536}]
if "seccomp" in kind:
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ALLOWED, "action": "SCMP_ACT_ALLOW"}],
    }
with open(config, "w") as file:
    json.dump(spec, file)

//! The sandbox's OCI specification, as runsc reads it.

use serde_json::{Value, json};

use super::setup::{Cgroup, Setup, Workload};

/// A node mounts, makes devices and network interfaces, traces, and hands all of that on to containers.
const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// `volumes` are pairs of a directory of this machine and its place in the sandbox.
pub fn specification(setup: &Setup, volumes: &[(String, String)]) -> Value {
    let capabilities: Vec<String> = CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect();
    let mut mounts = vec![
        mount("/proc", "proc", &[]),
        mount("/dev", "tmpfs", &[]),
        mount("/sys", "sysfs", &["rw"]),
        // runsc makes of this all controllers of v1, or v2, as its flag says.
        mount("/sys/fs/cgroup", "cgroup", &["rw"]),
        mount("/run", "tmpfs", &["mode=755"]),
        mount("/tmp", "tmpfs", &["mode=1777"]),
    ];
    for (source, destination) in volumes {
        mounts.push(json!({
            "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"],
        }));
    }
    let kubeconfig = match setup.workload {
        Workload::Node => "/var/lib/node/admin.kubeconfig",
        Workload::K3s => "/etc/rancher/k3s/k3s.yaml",
    };
    json!({
        "ociVersion": "1.0.2",
        "hostname": "node",
        "root": {"path": "root"},
        "process": {
            "args": setup.command(),
            "cwd": "/",
            "env": [
                format!("PATH={PATH}"), format!("KUBECONFIG={kubeconfig}"), "HOME=/root", "TERM=xterm",
            ],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "inheritable": capabilities,
                "permitted": capabilities, "ambient": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1_048_576, "hard": 1_048_576}],
        },
        "mounts": mounts,
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]},
    })
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": kind, "options": options})
}

/// runsc's flags that make what is tested.
pub fn runsc_flags(cgroup: Cgroup) -> Vec<&'static str> {
    let mut flags = vec![
        "--platform=systrap",
        // Without it today's runsc puts a memory overlay on the root, and no 9p is seen.
        "--overlay2=none",
        // A network stack with a loopback interface only. `sandbox` would take over the interfaces of a namespace of
        // this machine, which a fresh one doesn't have.
        "--network=none",
        "--ignore-cgroups", // this machine's own
    ];
    if cgroup == Cgroup::V2 {
        flags.push("--in-sandbox-cgroup=v2");
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        Setup {
            cgroup: Cgroup::V1,
            own_mounts: true,
            prefix: Some(vec!["--summary".into()]),
            prepared: false,
            workload: Workload::Node,
        }
    }

    #[test]
    fn the_first_process_is_one_prefixed_command() {
        let spec = specification(&setup(), &[]);
        assert_eq!(spec["process"]["args"], json!(["fsmasq", "--summary", "--", "node", "server"]));
    }

    #[test]
    fn volumes_are_bind_mounts_after_the_kernel_file_systems() {
        let spec = specification(&setup(), &[("/scratch/kubelet".into(), "/var/lib/kubelet".into())]);
        let last = spec["mounts"].as_array().and_then(|mounts| mounts.last()).cloned();
        assert_eq!(last.map(|m| m["destination"].clone()), Some(json!("/var/lib/kubelet")));
    }
}

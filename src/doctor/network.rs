//! What network plugins, kube-proxy and pods ask of the network, tried in a network namespace of this process's own.

use super::finding::{Area, Finding, ONLY_ROOT, Verdict, text_of};
use super::machine::Machine;
use super::netlink::Netlink;
use super::trial::{Ground, own_mounts, own_network};
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BRIDGE: &str = "fsmasq0";
const PORT: &str = "fsmasq1";
const PEER: &str = "fsmasq2";

/// Matches of iptables by which kube-proxy and the kubelet say what a rule is for, and share out connections.
const MATCHES: [(&str, &[&str]); 3] = [
    ("comment", &["--comment", "x"]),
    ("conntrack", &["--ctstate", "NEW"]),
    ("statistic", &["--mode", "random", "--probability", "0.5"]),
];
const NO_PROXY: [&str; 3] =
    ["--disable-kube-proxy", "--disable-network-policy", "--kubelet-arg=make-iptables-util-chains=false"];
const OWN_PLUGIN: [&str; 1] = ["--flannel-backend=none"];

fn finding(what: &str, seen: impl Into<String>, verdict: Verdict, why: &str) -> Finding {
    Finding::new(Area::Network, what, seen, verdict, why)
}

pub fn interfaces(machine: &Machine) -> Vec<Finding> {
    const PLUGIN: &str = "flannel and `bridge` insist on it";
    const NEEDED: &str = "pods are plugged in by it";
    let own = own_network();
    if let Err(errno) = own
        && errno != Errno::ENOSYS
    {
        let verdict = if machine.is_root { no_network(machine) } else { Verdict::Unknown };
        let seen = if machine.is_root { text_of(errno) } else { ONLY_ROOT.into() };
        return vec![finding("network namespace", seen, verdict, "each pod has its own")];
    }
    let netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(errno) => return vec![finding("netlink", text_of(errno), no_network(machine), NEEDED)],
    };
    if own.is_err() {
        // Nothing may be made here.
        let asked = netlink.ask_about_bridges();
        return vec![Finding::of_try(Area::Network, "bridge", asked, no_network(machine), NEEDED)];
    }
    let bridge = netlink.create_bridge(BRIDGE);
    let pair = netlink.create_pair(PORT, PEER);
    let mut findings = vec![
        Finding::of_try(Area::Network, "bridge", bridge, no_network(machine), NEEDED),
        Finding::of_try(Area::Network, "veth pair", pair, no_network(machine), NEEDED),
    ];
    if bridge.is_ok() && pair.is_ok() {
        let plugged = netlink.plug(PORT, BRIDGE);
        findings.push(Finding::of_try(
            Area::Network,
            "port of a bridge",
            plugged,
            no_network(machine),
            NEEDED,
        ));
        let hairpin = netlink.set_hairpin(PORT);
        findings.push(Finding::of_try(
            Area::Network,
            "hairpin mode",
            hairpin,
            Verdict::arguments(&OWN_PLUGIN),
            PLUGIN,
        ));
        if hairpin.is_err() {
            findings.push(plugin());
        }
    }
    let there = Path::new("/sys/class/net").is_dir();
    let seen = if there { "there" } else { "missing" };
    let why = "without it cAdvisor logs a line at its start";
    findings.push(finding("/sys/class/net", seen, Verdict::Fine, why));
    findings
}

/// Whether there is a network plugin in the place of flannel.
fn plugin() -> Finding {
    let configuration = std::fs::read_dir("/etc/cni/net.d").ok().and_then(|mut entries| entries.next()?.ok());
    let (seen, verdict) = match configuration {
        Some(entry) => (entry.file_name().to_string_lossy().into_owned(), Verdict::Fine),
        None => {
            let line =
                "a plugin of veth and bridge alone, in /etc/cni/net.d and /opt/cni/bin: see docs/doctor.md";
            ("nothing in /etc/cni/net.d".into(), Verdict::better(line))
        }
    };
    finding("network plugin", seen, verdict, "pods other than the node's own need one")
}

/// A pod has no network where these are missing, but one of the node's network can run.
fn no_network(machine: &Machine) -> Verdict {
    if machine.is_gvisor {
        Verdict::first("a gVisor of today, with a network of its own: runsc --network=sandbox (or none)")
    } else {
        Verdict::first("docker run --privileged, or a kernel with CONFIG_NET_NS, CONFIG_BRIDGE, CONFIG_VETH")
    }
}

pub fn iptables(machine: &Machine) -> Vec<Finding> {
    const WHAT: &str = "iptables";
    const WHY: &str = "kube-proxy's rules are made of it";
    let without = || Verdict::arguments(&NO_PROXY);
    let Some(program) = find("iptables") else {
        // Its kernel has never had these matches.
        let verdict = if machine.is_gvisor { without() } else { Verdict::Unknown };
        return vec![finding(WHAT, "no such program", verdict, WHY)];
    };
    let ground = own_network().and_then(|()| own_mounts()).and_then(|()| Ground::new());
    let lock = match ground.and_then(|ground| ground.folder("lock")) {
        Ok(folder) => folder.join("xtables.lock"),
        Err(errno) => {
            let seen =
                if machine.is_root { format!("not tried ({})", text_of(errno)) } else { ONLY_ROOT.into() };
            let verdict = if machine.is_gvisor { without() } else { Verdict::Unknown };
            return vec![finding(WHAT, seen, verdict, WHY)];
        }
    };
    let run = |words: &[&str]| {
        let mut command = Command::new(&program);
        // The usual one would be a file of the machine's, and be held by others.
        command.env("XTABLES_LOCKFILE", &lock);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !run(&["-t", "filter", "-N", "FSMASQ"]) {
        return vec![finding(WHAT, "no table `filter`", without(), WHY)];
    }
    let missing: Vec<&str> = MATCHES
        .iter()
        .filter(|(name, options)| {
            let words =
                [&["-t", "filter", "-A", "FSMASQ", "-p", "tcp", "-m", name], *options, &["-j", "RETURN"]];
            !run(&words.concat())
        })
        .map(|(name, _)| *name)
        .collect();
    let (seen, verdict) = match missing.as_slice() {
        [] => ("comment, conntrack, statistic".into(), Verdict::Fine),
        missing => (format!("no match {}", missing.join(", ")), without()),
    };
    vec![finding(WHAT, seen, verdict, WHY)]
}

/// A program of PATH, or of where such programs are.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(program)).find(|file| file.is_file())
}

pub fn raw_sockets(machine: &Machine) -> Vec<Finding> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_ICMP) };
    let tried = Errno::result(fd).map(drop);
    let why = "ping and iptables use them";
    let otherwise = match (machine.is_root, machine.is_gvisor) {
        (false, _) => Verdict::Unknown,
        (true, true) => Verdict::better("runsc --net-raw"),
        (true, false) => Verdict::better("docker run --cap-add=NET_RAW"),
    };
    vec![Finding::of_try(Area::Network, "raw sockets", tried, otherwise, why)]
}

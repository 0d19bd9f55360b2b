#!/bin/sh
# Puts in place what a k3s server needs in a gVisor sandbox: its settings, a network plugin, the service proxy.
# Run it again at any time: what is there already is left alone, and a file that differs is kept beside the new one.
set -eu

usage() {
	cat <<-'USAGE'
		usage: install.sh [--root DIR] [--host-local PROGRAM] [--service-proxy PROGRAM] [--network-only] [--dry-run]

		  --root DIR               put everything below this directory (default: /)
		  --host-local PROGRAM     the CNI plugin of that name, if it is not in /opt/cni/bin yet
		  --service-proxy PROGRAM  the built examples/service-proxy; without it the proxy is left out
		  --network-only           the network plugin and the programs, no settings of k3s
		  --dry-run                only say what would be done
	USAGE
}

root=/ host_local='' service_proxy='' network_only=false dry_run=false
while [ $# -gt 0 ]; do
	case $1 in
	--root | --host-local | --service-proxy)
		[ $# -ge 2 ] || { echo "install.sh: $1 needs a value" >&2; exit 2; }
		case $1 in
		--root) root=$2 ;;
		--host-local) host_local=$2 ;;
		--service-proxy) service_proxy=$2 ;;
		esac
		shift
		;;
	--network-only) network_only=true ;;
	--dry-run) dry_run=true ;;
	--help | -h) usage; exit 0 ;;
	*) echo "install.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
	esac
	shift
done
here=$(dirname "$0")
root=${root%/}

# place SOURCE TARGET MODE
place() {
	target=$root$2
	[ -f "$1" ] || { echo "install.sh: there is no file $1" >&2; exit 1; }
	if cmp -s "$1" "$target"; then
		echo "is there:  $target"
		return
	fi
	if [ -e "$target" ]; then
		backup=$target.$(date +%Y%m%d-%H%M%S).bak
		# Containerd and the CNI read all files of some names in their folders, none that end so.
		echo "differs:   $target, the old one is kept as $backup"
		$dry_run || cp -p "$target" "$backup"
	fi
	echo "installed: $target"
	$dry_run && return
	mkdir -p "$(dirname "$target")"
	# Renamed into place: a program that runs can't be written to, and nobody sees half a file.
	cp "$1" "$target.new"
	chmod "$3" "$target.new"
	mv -f "$target.new" "$target"
}

place "$here/sandbox-bridge.sh" /opt/cni/bin/sandbox-bridge 755
place "$here/sandbox-bridge.conflist" /etc/cni/net.d/10-sandbox-bridge.conflist 644
if [ -n "$host_local" ]; then
	place "$host_local" /opt/cni/bin/host-local 755
elif [ ! -x "$root/opt/cni/bin/host-local" ]; then
	echo "missing:   $root/opt/cni/bin/host-local, which hands out addresses; give it by --host-local"
fi
if [ -n "$service_proxy" ]; then
	place "$service_proxy" /usr/local/bin/service-proxy 755
fi
if $network_only; then
	exit 0
fi
agent=/var/lib/rancher/k3s/agent/etc
place "$here/config.yaml" /etc/rancher/k3s/config.yaml 600
place "$here/kubelet.conf" $agent/kubelet.conf.d/50-gvisor.conf 644
place "$here/containerd.toml" $agent/containerd/config-v3.toml.d/50-sandbox.toml 644
if [ -n "$service_proxy" ]; then
	place "$here/service-proxy.service" /etc/systemd/system/service-proxy.service 644
fi

#!/bin/sh
# A CNI plugin: gives a pod a veth pair into the node's bridge, and an address from host-local. The usual plugins
# `bridge` and `ptp` set things that gVisor's network stack refuses (hairpin mode, some routes).
set -eu
bridge=cni0
# With its path: busybox's shell prefers its own ip, which knows no veth.
ip=/usr/sbin/ip
config=$(cat)

fail() {
	printf '{"cniVersion":"1.0.0","code":100,"msg":"sandbox-bridge: %s"}\n' "$1"
	exit 1
}
ipam() { printf '%s' "$config" | "${CNI_PATH%%:*}/host-local"; }
in_pod() { nsenter --net="$CNI_NETNS" "$@"; }
# The value of a key that the configuration has once.
value() { printf '%s' "$config" | tr -d ' \n\t' | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

gateway=$(value gateway)

# The bridge has the gateway's address, which is the node's own. Two pods may come at once: what the other has made is fine.
make_bridge() {
	$ip link show $bridge >/dev/null 2>&1 && return
	$ip link add $bridge type bridge || true
	subnet=$(value subnet)
	$ip addr add "$gateway/${subnet#*/}" dev $bridge || true
	$ip link set $bridge up
}

# The interface's name on the node, unique and within the 15 bytes that a name may have.
outside=veth$(printf '%s' "$CNI_CONTAINERID" | cut -c 1-10)

case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD)
	make_bridge >&2 || fail "making $bridge"
	answer=$(ipam) || fail "no address from host-local"
	address=$(printf '%s' "$answer" | tr -d ' \n\t' | sed -n 's/.*"address":"\([0-9.]*\/[0-9]*\)".*/\1/p')
	[ -n "$address" ] || fail "host-local answered without an address"
	$ip link add "$outside" type veth peer name "$CNI_IFNAME" netns "${CNI_NETNS##*/}" || fail "ip link add"
	$ip link set "$outside" master $bridge || fail "plugging into $bridge"
	$ip link set "$outside" up || fail "raising $outside"
	in_pod $ip link set lo up || fail "raising lo"
	in_pod $ip link set "$CNI_IFNAME" up || fail "raising $CNI_IFNAME"
	in_pod $ip addr add "$address" dev "$CNI_IFNAME" || fail "adding $address"
	in_pod $ip route add default via "$gateway" dev "$CNI_IFNAME" || fail "default route"
	printf '%s\n' "$answer"
	;;
DEL)
	ipam || true
	$ip link del "$outside" 2>/dev/null || true
	;;
CHECK) $ip link show "$outside" >/dev/null || fail "$outside is missing" ;;
*) fail "unknown command $CNI_COMMAND" ;;
esac

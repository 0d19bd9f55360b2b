#!/bin/sh
# k3s as a node in a gVisor sandbox. UNTRIED: no k3s could be had where this was written. The settings are those that the
# node beside this file was tried with; the ways to hand them to k3s are from its documentation.
set -eu
ip=/usr/sbin/ip

# The network that the CNI plugin plugs pods into; flannel needs what a sandbox lacks.
$ip link set lo up
$ip link add cni0 type bridge
$ip addr add 10.42.0.1/24 dev cni0
$ip link set cni0 up

# k3s imports what lies here.
images=/var/lib/rancher/k3s/agent/images
mkdir -p $images
cp /usr/local/lib/images/busybox.tar $images/

# Where the plugin above is. k3s reads drop-ins beside its own containerd configuration.
dropins=/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d
mkdir -p $dropins
cat >$dropins/sandbox.toml <<'TOML'
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/opt/cni/bin"]
  conf_dir = "/etc/cni/net.d"
  use_internal_loopback = true
TOML

# gVisor's iptables lack the matches of the kubelet's own chains.
mkdir -p /etc/rancher/k3s
cat >/etc/rancher/k3s/kubelet.yaml <<'YAML'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
makeIPTablesUtilChains: false
YAML

exec k3s server \
	--node-name=node --node-ip=10.42.0.1 --advertise-address=10.42.0.1 \
	--flannel-backend=none --disable-network-policy --disable-kube-proxy \
	--disable=coredns,local-storage,metrics-server,servicelb,traefik \
	--snapshotter=native --pause-image=localhost/fsmasq/busybox:1 \
	--kubelet-arg=config=/etc/rancher/k3s/kubelet.yaml

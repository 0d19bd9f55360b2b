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

# Settings and the network plugin, here and not when the sandbox is made: /var/lib/rancher may be a mount.
sh /usr/local/lib/k3s/install.sh
# What this sandbox wants otherwise.
cat >>/etc/rancher/k3s/config.yaml <<'YAML'
node-name: node
node-ip: 10.42.0.1
advertise-address: 10.42.0.1
pause-image: localhost/fsmasq/busybox:1
YAML

exec k3s server --disable=coredns --disable=local-storage

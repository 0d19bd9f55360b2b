#!/bin/sh
# The first process of the machine: mounts its 9p shares, and hands over to the node's root. What is in /order and
# /shares was put there by xtask/src/vm/machine.rs.
echo "the first process runs"
mount -t proc proc /proc
while read -r module; do
	insmod "/modules/$module" || exit 1
done </order
options=trans=virtio,version=9p2000.L,msize=262144
while read -r tag place cache; do
	mount -t 9p -o "$options,cache=$cache" "$tag" "/root$place" || exit 1
done </shares
exec switch_root /root /usr/local/lib/vm-node.sh

#!/bin/sh
# Runs the node, checks it, and writes what was seen to /out, a directory of the machine outside.
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root KUBECONFIG=/var/lib/node/admin.kubeconfig
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
# QEMU's shares refuse sockets where they keep owners and modes (security_model=passthrough).
for folder in pod-resources device-plugins; do
	mkdir -p "/var/lib/kubelet/$folder"
	mount -t tmpfs "$folder" "/var/lib/kubelet/$folder"
done
mount --make-rshared /
ulimit -n 1048576
hostname node

finish() {
	echo "$1" >/out/status
	sync
	poweroff -f
}

/usr/local/bin/node mounts /var/lib/kubelet >/out/tables.bare 2>>/out/checks.err
/usr/local/bin/fsmasq --profile none node mounts /var/lib/kubelet >/out/tables.below 2>>/out/checks.err

sh /out/command >>/out/node.log 2>&1 &
node=$!
until grep -q '^node: Ready after' /out/node.log; do
	if ! kill -0 $node; then
		wait $node
		finish "the node ended with status $?"
	fi
	sleep 0.5
done
if [ -e /out/check ]; then
	NODE_PID=$node NODE_DEVICE=$(cat /out/device) node check first >/out/checks 2>>/out/checks.err || finish "the checks ended with status $?"
fi
kill $node
wait $node
finish "stopped with status $?"

#!/bin/sh
# What a node without fsmasq needs in a gVisor sandbox, made by hand in the sandbox: /dev/kmsg, and sysctls that the
# kubelet reads and writes. fsmasq's profile does the same for what it starts. Used to compare with, never below fsmasq.
set -eu

ln -sf /dev/null /dev/kmsg

# No file can be added to /proc/sys, so copies of its folders, with the missing files, are mounted over them.
copies=/run/sysctl
for folder in vm kernel; do
	mkdir -p "$copies/$folder"
	(cd /proc/sys/$folder && find . -type f) | while read -r file; do
		mkdir -p "$copies/$folder/$(dirname "$file")"
		cat "/proc/sys/$folder/$file" >"$copies/$folder/$file" 2>/dev/null || true
	done
done
mkdir -p $copies/kernel/keys
echo 0 >$copies/vm/panic_on_oom
echo 0 >$copies/kernel/panic
echo 0 >$copies/kernel/panic_on_oops
echo 200 >$copies/kernel/keys/root_maxkeys
echo 20000 >$copies/kernel/keys/root_maxbytes
for folder in vm kernel; do
	mount --bind $copies/$folder /proc/sys/$folder
done

exec "$@"

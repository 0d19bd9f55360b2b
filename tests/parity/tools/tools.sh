#!/bin/bash
# Everyday programs that read mount tables or ask for types: all forms of their output. The types themselves are taken out
# by the reader of this; that they are as mapped, other tests say.
try() {
	command -v "$1" >/dev/null || return
	echo "== $*"
	# Neither the widths of columns nor what is free.
	timeout --kill-after=5 20 "$@" 2>&1 </dev/null | sed -E 's/ [0-9.]+[KMGT%]?( |$)/ N\1/g; s/ [0-9.]+[KMGT%]?( |$)/ N\1/g; s/ +/ /g'
	echo "status ${PIPESTATUS[0]}"
}

for form in "" --all --list --raw --pairs --json --df --evaluate --ascii --notruncate --nofsroot --uniq --real --pseudo --shadowed \
	"--target /tmp" "--target ." "--mountpoint /" "--submounts /" "--first-only /" "--invert --types proc" "--options rw" \
	"--tab-file /proc/self/mountinfo" "--tab-file /proc/self/mounts" "--mtab" "--kernel" "--direction backward" \
	"--task $$" "--bytes --df" "--noheadings --output TARGET,SOURCE,FSTYPE,OPTIONS,MAJ:MIN,PROPAGATION" "--verify --verbose" \
	"--poll --timeout 10"; do
	try findmnt $form
done
for form in "" -a -h -i -T -P -l -B1 --total "-t proc" "-x proc" "--output=source,fstype,target" / . /proc /dev "/nonexistent" "--sync"; do
	try df $form
done
try mountpoint -d /
for form in "" -l "-t proc" "--version" "/nonexistent"; do try mount $form; done
for path in / /proc /proc/self/mountinfo /dev . /etc/passwd; do
	try stat -f -c '%T %S %l %n' "$path"
	try stat -c '%m %F' "$path"
	try mountpoint "$path"
done
for form in "" -f -m "-o NAME,FSTYPE,MOUNTPOINTS" -J; do try lsblk $form; done
for applet in mount "mount -t proc" df "df -T" "df /proc" "mountpoint /" "mountpoint /etc" "stat -f -c %T /" "stat -f -c %T /proc"; do
	try busybox $applet
done
try systemd-detect-virt
try systemd-detect-virt --container
try systemd-path
try systemd-mount --list
try systemd-escape --path /a/b
try systemctl --version
try systemd-nspawn --version
try systemd-analyze --version
try grep -c . /proc/self/mountinfo /proc/self/mounts /proc/self/mountstats /etc/mtab /proc/1/mountinfo /proc/thread-self/mounts
try wc /proc/self/mountinfo
try cp /proc/self/mounts copied
try cmp /proc/self/mounts copied
try dd if=/proc/self/mountinfo of=copied bs=7 status=none
try cmp /proc/self/mountinfo copied
try tail -n 1 /proc/self/mounts
try tac /proc/self/mounts
try sort -o sorted /proc/self/mounts
try python3 -c 'import os, shutil; print(os.statvfs("/").f_namemax, shutil.disk_usage("/").total > 0, os.path.ismount("/proc"))'
try perl -ne 'END { print $. > 3 }' /proc/self/mounts
true

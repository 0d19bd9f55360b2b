#!/bin/bash
# Namespaces and privileges by the tools of util-linux, coreutils and bubblewrap. $1: the program of crash.c; the
# current folder is empty.
crash=$1

# Says how a command ended, and what it said.
try() {
	echo "== ${*/"$look"/…}"
	timeout --kill-after=5 20 "$@" 2>&1 </dev/null | sed -E 's/^.*line [0-9]+: *[0-9]+ //; s/(Segmentation|Bad|Trace|Illegal|Floating|Aborted|Killed|Terminated).*/\1/'
	echo "status ${PIPESTATUS[0]}"
}

look='id -u; cat /proc/self/uid_map /proc/self/setgroups; [ $$ = 1 ] && echo first; (exit 3); echo $?; sleep 0 & wait $!; echo $?
	kill -TERM $$; echo still here; exit 7'
try unshare sh -c "$look"
for form in -U "-U -r" "-U -c" "-p -f" "-p -f --mount-proc" -m -n -u -i -C "-T --monotonic 1000" "-p -f --kill-child" \
	"-U -r -m -p -f --mount-proc" "-U -r -m -p -f -n -u -i -C -T" "-m --propagation slave" "-p -f -R /" "-p"; do
	try unshare $form sh -c "$look"
done

# The init of a namespace: what ends it, what does not, and what becomes of the others.
for how in segv blocked-segv ignored-segv raise-segv abort illegal protected int3 int4 divide stack; do
	try "$crash" "$how"
	try unshare -p -f "$crash" "$how"
	try unshare -U -r -p -f sh -c "$crash $how; echo \$?; exit 4"
done
for signal in TERM INT HUP QUIT SEGV KILL STOP TSTP USR1 ALRM RTMIN; do
	try unshare -p -f bash -c "kill -$signal \$\$; (kill -$signal 1); echo still here; exit 5"
done
try unshare -p -f bash -c 'trap "echo handled" TERM USR1; kill -TERM 1; (kill -USR1 1); exit 6'
try unshare -p -f bash -c 'sleep 1000 & (sleep 1000 & exec sleep 1000) & exit 0'
try unshare -p -f bash -c '(sleep 0.1 & exit 3); wait; while [ "$(ps -o pid= --ppid 1 | wc -l)" -gt 2 ]; do :; done; echo reaped'
try unshare -p -f --mount-proc bash -c 'sleep 1000 & kill -9 -1; wait; echo alone'
try unshare -p -f bash -c 'unshare -p -f sh -c "echo \$\$; kill -9 \$\$; exit 8"; echo $?'
try bash -c 'unshare -p -f --kill-child sleep 1000 & sleep 0.3; kill -9 $!; wait $!; echo $?'

# Mounts: seen in the tables of those who share them, and of nobody else.
mkdir -p at there root
try unshare -m sh -c 'mount -t tmpfs -o size=64k mine at; grep -c " mine " /proc/self/mountinfo; findmnt -no SOURCE,TARGET at
	mount --bind at there; findmnt -no SOURCE there; mount -o remount,ro at; touch at/x; umount there at; grep -c mine /proc/mounts'
try grep -c mine /proc/self/mounts
try unshare -U -r -m sh -c 'mount -t tmpfs mine at && stat -f -c %b at >x && wc -l <x; umount at; mount -t proc proc there; echo $?'
try unshare -m bash -c 'mount -t tmpfs mine at; nsenter -t $$ -m grep -c "mine" /proc/self/mounts'
try unshare -m -p -f --mount-proc bash -c 'sleep 1000 & nsenter -t $! -a readlink /proc/self/ns/pid /proc/1/ns/pid | sort -u | wc -l'
try unshare -n nsenter -t 1 -n true

# Other roots and privileges.
cp "$(command -v busybox)" root/busybox && mkdir root/proc
try chroot root /busybox sh -c 'echo *; exit 3'
try unshare -m sh -c 'mount -t proc proc root/proc; exec chroot root /busybox wc -l /proc/self/mountinfo'
try unshare -m -p -f sh -c 'mount --bind root root && cd root && mkdir old && pivot_root . old && exec /busybox sh -c "echo *; echo \$\$"'
for privileges in "--reuid=1000" "--reuid=1000 --regid=1000 --clear-groups" "--no-new-privs" "--bounding-set=-all" \
	"--inh-caps=-all --bounding-set=-all --no-new-privs" "--pdeathsig=TERM" "--securebits=+noroot"; do
	try setpriv $privileges sh -c 'id; grep -E "Cap|NoNew|Groups" /proc/self/status; cat /proc/self/mounts | wc -l | tr 0-9 N; exit 9'
done
if command -v bwrap >/dev/null; then
	try bwrap --bind / / --dev /dev --proc /proc --unshare-all --die-with-parent sh -c 'echo $$; ls /dev; cut -d" " -f2 /proc/mounts | sort; exit 6'
	try bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --tmpfs /tmp --proc /proc \
		--dev /dev --unshare-user --unshare-pid --uid 5 --gid 6 --hostname other --unshare-uts sh -c 'id; uname -n; touch /tmp/x; touch /usr/x; df /tmp | wc -l'
	try bwrap --bind / / --unshare-pid --as-pid-1 "$crash" segv
	try bwrap --bind / / --unshare-pid "$crash" segv
	try bwrap --bind / / --unshare-user --cap-drop ALL --new-session sh -c 'grep CapEff /proc/self/status; ps -o sid= -p $$ | wc -l; kill -9 $$'
fi
true

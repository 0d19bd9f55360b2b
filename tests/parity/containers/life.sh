#!/bin/bash
# Containers of runc, from their creation to their end. $1: runc, $2: the program of crash.c, $3: the kind (bundle.py).
program=$1 crash=$2 kind=$3
here=$(dirname "$(readlink -f "$0")")
bundle=$PWD/bundle root=$PWD/root
export CONTAINER=$(basename "$(mktemp --dry-run XXXXXXXX)")
mkdir -p "$bundle" "$root"/{bin,proc,sys,dev,tmp,etc}
cp "$(command -v busybox)" "$root/bin/"
for name in sh sleep cat id mount df stat grep wc cut kill true ls touch; do ln -s busybox "$root/bin/$name"; done
cp "$crash" "$root/bin/crash"

runc() { timeout --kill-after=5 60 "$program" --root "$bundle/state" "$@" 2>&1 </dev/null | sed -E 's/^time="[^"]*" //'; echo "status ${PIPESTATUS[0]}"; }
quiet() { timeout --kill-after=5 60 "$program" --root "$bundle/state" "$@" >"$bundle/out" 2>&1 </dev/null; echo "$1: $?"; }
make() { python3 "$here/bundle.py" "$program" "$bundle" "$root" "$kind" "$1"; }
awaits() {
	for ((i = 0; i < 600; i++)); do
		"$program" --root "$bundle/state" state "$CONTAINER" 2>/dev/null | grep -q "\"status\": \"$1\"" && { echo "is $1"; return; }
		sleep 0.05
	done
	echo "never $1"
}
gone() { "$program" --root "$bundle/state" delete -f "$CONTAINER" >/dev/null 2>&1; }
trap 'gone; rmdir /sys/fs/cgroup/*/fsmasq-parity-"$CONTAINER" /sys/fs/cgroup/fsmasq-parity-"$CONTAINER" 2>/dev/null' EXIT

echo "== what a container sees ($kind)"
make 'id; echo $$; mount; cut -d" " -f4- /proc/self/mountinfo; stat -f -c %T / /dev /proc; df /dev | wc -l
	(sleep 1000 & kill -9 $!; wait $!; echo $?); grep -E "Cap|Seccomp|NoNew" /proc/self/status; exit 42'
runc run -b "$bundle" "$CONTAINER"
gone

for how in 'exit 3' 'kill -TERM $$; echo still here; exit 4' 'trap "exit 6" TERM; kill -TERM $$; exit 4' '(kill -9 1); echo still here' \
	'(kill -STOP 1); echo still here' 'sleep 1000 & exit 0' 'crash segv; echo $?' 'exec crash segv' 'exec crash blocked-segv' 'exec crash abort' \
	'exec crash illegal' 'exec crash int3' 'exec crash divide' 'exec crash stack' 'exec crash raise-segv'; do
	[ "$SHORT" ] && case $how in *illegal | *divide | *stack | *abort | *blocked*) continue ;; esac
	echo "== PID 1: $how ($kind)"
	make "$how"
	runc run -b "$bundle" "$CONTAINER"
	gone
done

echo "== exec, pause, kill ($kind)"
make 'trap "echo told; exit 9" TERM; echo began; while :; do sleep 0.1; done'
quiet run -d -b "$bundle" "$CONTAINER"
cp "$bundle/out" "$bundle/first"
awaits running
runc exec "$CONTAINER" sh -c 'id -u; cat /proc/1/comm; wc -l </proc/self/mounts; exit 5'
runc exec "$CONTAINER" sh -c 'kill -SEGV $$'
runc exec -e A=b --cwd /tmp --user 1000:1000 "$CONTAINER" sh -c 'echo $A; id; cat /proc/self/mountinfo | wc -l'
runc exec "$CONTAINER" /nonexistent
quiet exec -d "$CONTAINER" sleep 1000
quiet pause "$CONTAINER"
awaits paused
runc exec "$CONTAINER" true
quiet resume "$CONTAINER"
awaits running
quiet pause "$CONTAINER"
quiet kill "$CONTAINER" TERM
quiet resume "$CONTAINER"
awaits stopped
quiet delete "$CONTAINER"

for signal in KILL TERM; do
	echo "== kill $signal from outside ($kind)"
	make 'exec sleep 1000'
	quiet run -d -b "$bundle" "$CONTAINER"
	awaits running
	quiet kill "$CONTAINER" "$signal"
	[ "$signal" = KILL ] && awaits stopped
	quiet delete -f "$CONTAINER"
done

echo "== create, then start ($kind)"
make 'exit 0'
quiet create -b "$bundle" "$CONTAINER"
awaits created
quiet start "$CONTAINER"
awaits stopped
quiet delete "$CONTAINER"

#!/bin/bash
# units - the units as installed, under a real systemd that is process 1 of namespaces of its own:
# status, reload, watchdog, a storm of crashes, starts that cannot succeed, what the journal explains.
set -u
. "$(dirname "$0")/../system/lib.sh"
[ -z "$SAN" ] || skip "a sanitizer build is not for installing"
[ "$(id -u)" -eq 0 ] || skip "only root can start a systemd"
for tool in unshare nsenter findmnt journalctl systemctl; do
	command -v $tool >/dev/null || skip "$tool is missing"
done
systemd=/lib/systemd/systemd
[ -x $systemd ] || skip "systemd is missing"
cgroups=$(findmnt -nt cgroup2 -o TARGET | head -n 1)
cgroup=$cgroups/rngd-test-$$
[ -n "$cgroups" ] && mkdir "$cgroup" 2>/dev/null || skip "no cgroup to be had"

SYSTEMD=
BOOT_PID=
end_systemd() {
	# As process 1 of its namespace it takes all others with it.
	[ -z "$SYSTEMD" ] || kill -KILL "$SYSTEMD"
	[ -z "$BOOT_PID" ] || wait "$BOOT_PID"
	wait_for 10 no_cgroup || echo "NOTE: $cgroup is left"
	cleanup
} 2>/dev/null
no_cgroup() {
	find "$cgroup" -depth -type d -exec rmdir {} +
	[ ! -e "$cgroup" ]
}
trap end_systemd EXIT

# ---------------------------------------------------------------- a root with rngd installed
(cd "$ROOT" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
	make install BUILD="$BUILD" DESTDIR="$TMP/installed" PREFIX=/usr) >"$TMP/make.log" 2>&1 ||
	fail "make install: $(tail -n 5 "$TMP/make.log")"
cat >"$TMP/boot" <<'BOOT'
set -eu
root=$1/root
mkdir "$root" && mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system etc/systemd/journald.conf.d var/lib/systemd/catalog var/log var/tmp tmp run \
	proc sys dev root home old
mount -t overlay -o "lowerdir=$1/installed/usr:/usr" overlay usr
for name in bin sbin lib lib32 lib64 libx32; do
	[ ! -L "/$name" ] || ln -s "usr/$name" "$name"
done
cp /etc/nsswitch.conf etc/
cp -a /etc/ld.so.c* etc/
{ grep -v '^rngd:' /etc/passwd; echo 'rngd:x:777:777::/:/usr/sbin/nologin'; } >etc/passwd
{ grep -v '^rngd:' /etc/group; echo 'rngd:x:777:'; } >etc/group
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n' >etc/systemd/journald.conf.d/test.conf
mount -t proc proc proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 kmsg:1:11 tty:5:0; do
	IFS=: read -r name major minor <<<"$node"
	mknod -m 666 "dev/$name" c "$major" "$minor"
done
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# Nothing that touches the machine: of what systemd starts by itself only the journal.
for unit in /usr/lib/systemd/system/*.wants/*; do
	case ${unit##*/} in
	systemd-journald* | *.target | *.slice | '*') ;;
	*) ln -sfn /dev/null "etc/systemd/system/${unit##*/}" ;;
	esac
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/test.target
pivot_root . old
umount -l old
exec env -i container=private PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --system --unit=test.target \
	--log-target=journal --show-status=no </dev/null >/run/console.log 2>&1
BOOT

inside() {
	nsenter -t "$SYSTEMD" -p -m -C -u -i -n -- env -i PATH=/usr/sbin:/usr/bin "$@"
}
is_up() {
	SYSTEMD=$(pgrep -P "$BOOT_PID" 2>/dev/null | head -n 1)
	[ -n "$SYSTEMD" ] && inside systemctl is-system-running | grep -qE 'running|degraded'
}
(
	echo "$BASHPID" >"$cgroup/cgroup.procs" &&
		exec unshare --fork --kill-child --pid --mount --cgroup --uts --ipc --net --propagation private \
			bash "$TMP/boot" "$TMP"
) >"$TMP/boot.log" 2>&1 &
BOOT_PID=$!
wait_for 30 is_up || skip "systemd does not come up in namespaces: $(tail -n 1 "$TMP/boot.log")"
note "$(inside systemctl --version | head -n 1)"

# ---------------------------------------------------------------- what the rest is made of
get() {
	inside rngcli --timeout "${1:-10}" --hex 4 >/dev/null 2>&1
}
shows() { # UNIT PROPERTY
	inside systemctl show -p "$2" --value "$1"
}
is() { # UNIT PROPERTY VALUE
	[ "$(shows "$1" "$2")" = "$3" ]
}
reseeds() {
	inside rngcli status --json | sed -n 's/.*"reseed.count": *\([0-9]*\).*/\1/p'
}
journal() {
	inside journalctl -q --no-pager "$@"
}
explains() { # SUBJECT
	journal -x -u rngd.service | grep -q "Subject: $1"
}
# override LINE... - a drop-in with these lines; without any, none.
override() {
	local dir=/run/systemd/system/rngd.service.d
	inside systemctl stop rngd.service rngd.socket rngd-control.socket 2>/dev/null
	inside rm -rf $dir
	if [ $# -gt 0 ]; then
		inside mkdir -p $dir
		printf '%s\n' "$@" | inside tee $dir/test.conf >/dev/null
	fi
	inside systemctl daemon-reload
	inside systemctl reset-failed
}
tell() { # for a failure
	fail "$1; $(inside systemctl status rngd.service rngd.socket 2>&1; journal -n 20)"
}
# another_than PID - another process serves.
another_than() {
	is rngd.service ActiveState active && [ "$(shows rngd.service MainPID)" != "$1" ]
}

# ---------------------------------------------------------------- serving
inside journalctl --update-catalog
inside systemctl start rngd.socket || tell "the sockets do not come up"
get || tell "no bytes by the socket"
wait_for 10 eval 'inside systemctl status rngd.service | grep -q "Status: \"Serving; "' || tell "no status line"
before=$(reseeds)
inside systemctl reload rngd.service || tell "a reload fails"
[ "$(reseeds)" -gt "$before" ] || tell "a reload was over before the reseed"
inside systemctl kill -s HUP rngd.service
wait_for 10 eval '[ "$(reseeds)" -gt $((before + 1)) ]' || tell "SIGHUP does nothing"
wait_for 10 is rngd.service SubState running || tell "a reload by SIGHUP is not over"
head -c 32 /dev/urandom | inside rngcli bump >/dev/null || tell "no bump"
wait_for 10 explains 'rngd serves' || tell "the journal does not explain the start"
wait_for 10 explains 'This machine was cloned' || tell "the journal does not explain a clone"

# ---------------------------------------------------------------- 20 crashes in a row
for _ in $(seq 20); do
	pid=$(shows rngd.service MainPID)
	inside kill -KILL "$pid"
	wait_for 10 another_than "$pid" || tell "no other rngd after $pid was killed"
done
get || tell "no bytes after 20 crashes"
is rngd.service NRestarts 20 || tell "another number of restarts than 20"
is rngd.socket Result success || tell "the socket did not outlast it"

# ---------------------------------------------------------------- a daemon that stands
[ "$(shows rngd.service WatchdogUSec)" = 20s ] || tell "another watchdog"
override '[Service]' 'WatchdogSec=4s'
inside systemctl start rngd.service || tell "it does not start again"
pid=$(shows rngd.service MainPID)
inside kill -STOP "$pid"
get 30 || tell "a client got nothing while the daemon stood"
another_than "$pid" || tell "a daemon that stands was not replaced"
journal -u rngd.service | grep -q 'Watchdog timeout' || tell "it was not the watchdog"

# ---------------------------------------------------------------- starts that cannot succeed
starts() {
	journal -u rngd.service | grep -c 'Starting rngd.service'
}
# The command line is wrong: once, and with a client that waits a bounded number of times.
override '[Service]' 'ExecStart=' 'ExecStart=/usr/libexec/rngd/rngd --nonsense'
inside systemctl start rngd.service 2>/dev/null && tell "a wrong command line starts"
is rngd.service NRestarts 0 && is rngd.service ActiveState failed || tell "a wrong command line is tried again"
get 5 && tell "bytes from nobody"
wait_for 60 is rngd.socket ActiveState failed || tell "a waiting client makes the socket spin"
# What never gets up is given up.
is rngd.service StartLimitBurst 200 && is rngd.service StartLimitIntervalUSec 10min || tell "another limit"
override '[Unit]' 'StartLimitBurst=5' '[Service]' 'LimitMEMLOCK=64K'
before=$(starts)
inside systemctl start rngd.service 2>/dev/null && tell "it starts without locked memory"
wait_for 60 eval 'is rngd.service ActiveState failed && is rngd.socket Result service-start-limit-hit' ||
	tell "a start that fails again and again is not given up"
[ "$(($(starts) - before))" -eq 5 ] || tell "$(($(starts) - before)) starts and not 5"
is rngd-control.socket Result service-start-limit-hit || tell "the control socket stays"
explains 'rngd did not start' || tell "the journal does not explain a failed start"

# ---------------------------------------------------------------- and back, as the manual says
inside rm -r /run/systemd/system/rngd.service.d
inside systemctl daemon-reload
inside systemctl reset-failed rngd.service
inside systemctl start rngd.socket || tell "the sockets do not come back"
get || tell "no bytes after all of this"
inside systemctl stop rngd.service 2>/dev/null
wait_for 10 explains 'rngd stops' || tell "the journal does not explain a stop"

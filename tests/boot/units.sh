#!/bin/bash
# units - the units as installed, under a real systemd that is process 1 of namespaces of its own:
# status, reload, watchdog, a storm of crashes, starts that cannot succeed, what the journal explains.
set -u
. "$(dirname "$0")/../system/lib.sh"
[ -z "$SAN" ] || skip "a sanitizer build is not for installing"
[ "$(id -u)" -eq 0 ] || skip "only root can start a systemd"
for tool in setpriv unshare nsenter findmnt journalctl systemctl; do
	command -v $tool >/dev/null || skip "$tool is missing"
done
systemd=/lib/systemd/systemd
[ -x $systemd ] || skip "systemd is missing"
# The bound of every wait for something that must come about; an overloaded machine takes tens of seconds.
WAIT_S=180
cgroups=$(findmnt -nt cgroup2 -o TARGET | head -n 1)
cgroup=$cgroups/rngd-test-$$

BOOT_PID=
end_systemd() {
	# timeout(1) sends a signal twice, and Ctrl-C may come again: the second must not end this half way.
	trap '' INT TERM HUP PIPE
	# unshare, which takes the systemd with it, and that as process 1 of its namespace all others.
	[ -z "$BOOT_PID" ] || kill -KILL "$BOOT_PID"
	wait_for $WAIT_S no_cgroup || echo "NOTE: $cgroup is left"
	cleanup
} 2>/dev/null
no_cgroup() {
	[ ! -e "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} +
	[ ! -e "$cgroup" ]
}
trap end_systemd EXIT
trap 'exit 1' INT TERM HUP
[ -n "$cgroups" ] && mkdir "$cgroup" 2>/dev/null || skip "no cgroup to be had"

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

SYSTEMD=
inside() {
	nsenter -t "$SYSTEMD" -p -m -C -u -i -n -- env -i PATH=/usr/sbin:/usr/bin "$@"
}
is_up() {
	SYSTEMD=$(pgrep -P "$BOOT_PID" 2>/dev/null | head -n 1)
	[ -n "$SYSTEMD" ] && inside systemctl is-system-running | grep -qE 'running|degraded'
}
(
	echo "$BASHPID" >"$cgroup/cgroup.procs" &&
		exec setpriv --pdeathsig KILL unshare --fork --kill-child --pid --mount --cgroup --uts --ipc --net \
			--propagation private bash "$TMP/boot" "$TMP"
) >"$TMP/boot.log" 2>&1 &
BOOT_PID=$!
wait_for $WAIT_S is_up || skip "systemd does not come up in namespaces: $(tail -n 1 "$TMP/boot.log")"
note "$(inside systemctl --version | head -n 1)"

# ---------------------------------------------------------------- what the rest is made of
get() {
	inside rngcli --timeout "${1:-$WAIT_S}" --hex 4 >/dev/null 2>&1
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
# override LINE... - everything stopped, and a drop-in with these lines for the service.
override() {
	local dir=/run/systemd/system/rngd.service.d
	inside systemctl stop rngd.service rngd.socket rngd-control.socket 2>/dev/null
	inside rm -rf $dir /run/systemd/system/rngd.socket.d
	inside mkdir -p $dir
	printf '%s\n' "$@" | inside tee $dir/test.conf >/dev/null
	inside systemctl daemon-reload
	inside systemctl reset-failed
}
tell() { # for a failure
	fail "$1; $(inside systemctl status rngd.service rngd.socket 2>&1; journal -n 20)"
}
# another_than PID - another process serves. One question: between two the process may go, and none is pid 0.
another_than() {
	local state pid
	state=$(inside systemctl show -p ActiveState -p MainPID rngd.service)
	pid=$(sed -n 's/^MainPID=//p' <<<"$state")
	[ "${pid:-0}" -gt 0 ] && [ "$pid" != "$1" ] && grep -qx 'ActiveState=active' <<<"$state"
}
# hit SIGNAL - to the daemon, by systemd: kill(1) with a pid of 0 would be for all that is in this test's own group.
hit() {
	inside systemctl kill --kill-whom=main -s "$1" rngd.service
}

# ---------------------------------------------------------------- serving
inside journalctl --update-catalog
inside systemctl start rngd.socket || tell "the sockets do not come up"
get || tell "no bytes by the socket"
wait_for $WAIT_S eval 'inside systemctl status rngd.service | grep -q "Status: \"Serving; "' || tell "no status line"
before=$(reseeds)
inside systemctl reload rngd.service || tell "a reload fails"
[ "$(reseeds)" -gt "$before" ] || tell "a reload was over before the reseed"
hit HUP
wait_for $WAIT_S eval '[ "$(reseeds)" -gt $((before + 1)) ]' || tell "SIGHUP does nothing"
wait_for $WAIT_S is rngd.service SubState running || tell "a reload by SIGHUP is not over"
head -c 32 /dev/urandom | inside rngcli bump >/dev/null || tell "no bump"
wait_for $WAIT_S explains 'rngd serves' || tell "the journal does not explain the start"
wait_for $WAIT_S explains 'This machine was cloned' || tell "the journal does not explain a clone"

# ---------------------------------------------------------------- acting on a clone
cat <<'UNIT' | inside tee /run/systemd/system/acts.service >/dev/null
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'echo reloaded >>/run/acts'
UNIT
subscribers() {
	[ "$(inside rngcli status --json | sed -n 's/.*"events.subscribers": *\([0-9]*\).*/\1/p')" = "$1" ]
}
inside systemctl daemon-reload
inside systemctl start acts.service rngd-on-clone@acts.service rngd-kernel-reseed.service ||
	tell "the units for clones do not start"
wait_for 10 subscribers 2 || tell "the units for clones do not subscribe"
for n in 1 2; do
	head -c 32 /dev/urandom | inside rngcli bump --settle >/dev/null || tell "clone $n is not settled"
	[ "$(inside cat /run/acts | wc -l)" -eq $n ] || tell "settled, and the service was not reloaded"
done
[ "$(journal -u rngd-kernel-reseed.service | grep -c 'bytes more')" -eq 2 ] ||
	tell "the kernel was not asked: $(journal -u rngd-kernel-reseed.service)"
# One that cannot is owed; when it is gone nobody waits for it.
inside systemctl start rngd-on-clone@nothing.service
wait_for 10 subscribers 3 || tell "no third subscriber"
head -c 32 /dev/urandom | inside rngcli bump --settle -t 2 >/dev/null 2>&1 && tell "a service that is not there was reloaded"
inside systemctl stop rngd-on-clone@nothing.service
inside rngcli settle >/dev/null || tell "a unit that was stopped is waited for"
inside systemctl stop rngd-on-clone@acts.service rngd-kernel-reseed.service acts.service

# ---------------------------------------------------------------- 20 crashes in a row
for _ in $(seq 20); do
	pid=$(shows rngd.service MainPID)
	hit KILL
	wait_for $WAIT_S another_than "$pid" || tell "no other rngd after $pid was killed"
done
get || tell "no bytes after 20 crashes"
is rngd.service NRestarts 20 || tell "another number of restarts than 20"
is rngd.socket Result success || tell "the socket did not outlast it"

# ---------------------------------------------------------------- a daemon that stands
[ "$(shows rngd.service WatchdogUSec)" = 20s ] || tell "another watchdog"
override '[Service]' 'WatchdogSec=10s'
inside systemctl start rngd.service || tell "it does not start again"
pid=$(shows rngd.service MainPID)
hit STOP
get || tell "a client got nothing while the daemon stood"
wait_for $WAIT_S another_than "$pid" || tell "a daemon that stands was not replaced"
journal -u rngd.service | grep -q 'Watchdog timeout' || tell "it was not the watchdog"

# ---------------------------------------------------------------- starts that cannot succeed
starts() {
	journal -u rngd.service | grep -c 'Starting rngd.service'
}
is rngd.service StartLimitBurst 200 && is rngd.service StartLimitIntervalUSec 10min || tell "another limit"
for socket in rngd.socket rngd-control.socket; do
	is $socket TriggerLimitBurst 20 && is $socket TriggerLimitIntervalUSec 5s || tell "another limit of $socket"
done
# both_down RESULT - service and sockets have failed, the sockets for that reason.
both_down() {
	local socket
	is rngd.service ActiveState failed || return 1
	for socket in rngd.socket rngd-control.socket; do
		[ "$(shows $socket ActiveState)/$(shows $socket Result)" = "failed/$1" ] || return 1
	done
}
# The command line is wrong: tried once. A client that waits has it tried again at once, and without the pause of
# a restart, until the socket's own limit; over an interval that does not depend on how fast this machine is.
override '[Service]' 'ExecStart=' 'ExecStart=/usr/libexec/rngd/rngd --nonsense'
inside mkdir -p /run/systemd/system/rngd.socket.d
printf '[Socket]\nTriggerLimitIntervalSec=10min\nTriggerLimitBurst=10\n' |
	inside tee /run/systemd/system/rngd.socket.d/test.conf >/dev/null
inside systemctl daemon-reload
inside systemctl start rngd.service 2>/dev/null && tell "a wrong command line starts"
is rngd.service NRestarts 0 && is rngd.service ActiveState failed || tell "a wrong command line is tried again"
before=$(starts)
get 1 && tell "bytes from nobody"
wait_for $WAIT_S is rngd.socket ActiveState failed || tell "a waiting client makes the socket spin"
is rngd.socket Result trigger-limit-hit || tell "it was another limit"
[ "$(($(starts) - before))" -eq 10 ] || tell "$(($(starts) - before)) starts for one client, and not 10"
# What never gets up is given up.
override '[Unit]' 'StartLimitBurst=5' '[Service]' 'LimitMEMLOCK=64K'
before=$(starts)
inside systemctl start rngd.service 2>/dev/null && tell "it starts without locked memory"
wait_for $WAIT_S both_down service-start-limit-hit || tell "a start that fails again and again is not given up"
[ "$(($(starts) - before))" -eq 5 ] || tell "$(($(starts) - before)) starts and not 5"
explains 'rngd did not start' || tell "the journal does not explain a failed start"
# The same with a client that waits all the while.
override '[Unit]' 'StartLimitBurst=5' '[Service]' 'LimitMEMLOCK=64K'
before=$(starts)
inside systemctl start rngd.socket || tell "the sockets do not come up"
get 5 && tell "bytes from a service that does not start"
wait_for $WAIT_S both_down service-start-limit-hit || tell "a start that fails for a client is not given up"
[ "$(($(starts) - before))" -le 5 ] || tell "$(($(starts) - before)) starts for a client, and not 5"

# ---------------------------------------------------------------- and back, as the manual says
inside rm -rf /run/systemd/system/rngd.service.d /run/systemd/system/rngd.socket.d
inside systemctl daemon-reload
inside systemctl reset-failed rngd.service
inside systemctl start rngd.socket || tell "the sockets do not come back"
get || tell "no bytes after all of this"
inside systemctl stop rngd.service 2>/dev/null
wait_for $WAIT_S explains 'rngd stops' || tell "the journal does not explain a stop"

#!/bin/sh
# SPDX-License-Identifier: ISC
#
# restore-qemu.sh SNAPSHOT - the host's half of a restore under QEMU: loads the snapshot with the
# network unplugged, lets the machine run, gives it fresh bytes, and plugs the network in when everybody
# in there has acted on it. guest-after-restore.sh is the other half.
#
# Why the host must speak: loadvm leaves the generation ID of a running QEMU as it is, and a second
# QEMU started with -loadvm and the same guid= has the same one too. Nothing inside can tell then.
# (Where -device vmgenid,guid=auto gives each a new ID, rngd notices by itself; this does no harm.)
#
# With QEMU started anew: qemu-system-x86_64 -S -loadvm SNAPSHOT ..., and LOADED=1 here.
#
# The bytes reach the guest by one of two ways:
#   AGENT set	through the guest agent on that socket (guest-exec must be allowed). Best: it needs no
#		network. With libvirt, `virsh qemu-agent-command` takes the same text.
#   else	by ssh to GUEST, over another interface than NIC: that one is unplugged.
# A serial port does too: `head -c 64 /dev/urandom` into its socket, and in the guest a service that
# runs guest-after-restore.sh with standard input from the raw port.
#
# DRY_RUN=1 prints what would be done. Exit status: 0 the network is plugged in; 1 it is not.
# Needs socat.
set -u
MONITOR=${MONITOR:-/run/vm/monitor.sock} # -monitor unix:PATH,server=on,wait=off
NIC=${NIC:-net0}                         # -netdev or -device with this id
AGENT=${AGENT:-}                         # the socket of -chardev for org.qemu.guest_agent.0
GUEST=${GUEST:-root@192.0.2.2}
# In the guest, run by its shell: the guest's half, and the command that opens the guest's own gate.
# No double quotes or backslashes.
GUEST_HALF=${GUEST_HALF:-/usr/local/libexec/guest-after-restore.sh systemctl start open-to-traffic.target}
GUEST_S=${GUEST_S:-60} # for all of the guest's half
TRIES=${TRIES:-3}
LOADED=${LOADED:-}
DRY_RUN=${DRY_RUN:-}

say() {
	echo "restore-qemu: $*" >&2
}

give_up() {
	say "$*: $NIC stays unplugged"
	exit 1
}

# monitor COMMAND - the monitor knows no exit status. It echoes the command behind its prompt, says
# nothing if all is well, and prompts again; anything else is a failure, above all an early end.
monitor() {
	if [ -n "$DRY_RUN" ]; then
		echo "+ echo '$1' | socat - UNIX-CONNECT:$MONITOR"
		return
	fi
	# The time is for loadvm, which answers when it has read all of the memory.
	answer=$(echo "$1" | socat -t 300 - "UNIX-CONNECT:$MONITOR" | tr -d '\r')
	complaint=$(echo "$answer" | grep -v -e '^QEMU ' -e '^(qemu)')
	[ -z "$complaint" ] || say "$1: $complaint"
	[ -z "$complaint" ] && [ "$(echo "$answer" | grep -c '^(qemu)')" -eq 2 ]
}

# agent JSON - prints the answer. QEMU hangs up when it reads an end of file, hence shut-none; the
# answer is there long before the 2 s are over.
agent() {
	echo "$1" | socat -t 2 - "UNIX-CONNECT:$AGENT,shut-none"
}

# field NAME JSON - a number in an answer of the agent.
field() {
	echo "$2" | sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p"
}

# The status of the guest's half, or 75 when the agent says nothing of it.
feed_by_agent() {
	# New for each try: bytes that a snapshot may hold by now are worth nothing.
	bytes=$(head -c 64 /dev/urandom | base64 -w 0)
	run='{"path":"/bin/sh","arg":["-c","'"$GUEST_HALF"'"],"input-data":"'"$bytes"'"}'
	answer=$(agent '{"execute":"guest-exec","arguments":'"$run"'}')
	pid=$(field pid "$answer")
	[ -n "$pid" ] || return 75
	polls=0
	while [ "$polls" -lt $((GUEST_S / 2)) ]; do # each takes 2 s
		answer=$(agent '{"execute":"guest-exec-status","arguments":{"pid":'"$pid"'}}')
		case $(echo "$answer" | tr -d ' ') in
		*'"exited":true'*) return "$(field exitcode "$answer" | grep . || echo 75)" ;;
		esac
		polls=$((polls + 1))
	done
	return 75
}

# The same by ssh; 255 is ssh's own, 124 the timeout's.
feed_by_ssh() {
	head -c 64 /dev/urandom | timeout "$GUEST_S" ssh -o BatchMode=yes -o ConnectTimeout=10 "$GUEST" "$GUEST_HALF"
}

feed() {
	if [ -n "$DRY_RUN" ]; then
		if [ -n "$AGENT" ]; then
			echo "+ guest-exec through $AGENT: $GUEST_HALF, input-data: 64 bytes of /dev/urandom"
		else
			echo "+ head -c 64 /dev/urandom | timeout $GUEST_S ssh $GUEST '$GUEST_HALF'"
		fi
	elif [ -n "$AGENT" ]; then
		feed_by_agent
	else
		feed_by_ssh
	fi
}

[ $# -eq 1 ] || {
	say "usage: restore-qemu.sh SNAPSHOT"
	exit 1
}

# Stopped first, so that it is stopped after loadvm: it must not run for a moment with its link up.
monitor stop || give_up "no monitor"
[ -n "$LOADED" ] || monitor "loadvm $1" || give_up "loadvm"
monitor "set_link $NIC off" || give_up "set_link"
monitor cont || give_up "cont"

try=1
until feed; do
	status=$?
	case $status in
	1 | 2) give_up "the guest's half ended with status $status" ;;
	esac
	[ "$try" -lt "$TRIES" ] || give_up "the guest has not settled ($status)"
	say "try $try: status $status; again with new bytes"
	try=$((try + 1))
	sleep 1
done

monitor "set_link $NIC on" || give_up "set_link"
say "restored, settled, and plugged in"

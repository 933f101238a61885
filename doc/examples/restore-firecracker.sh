#!/bin/sh
# SPDX-License-Identifier: ISC
#
# restore-firecracker.sh STATE MEMORY - the host's half of a restore under Firecracker: loads the
# snapshot into a new Firecracker process, with the host's end of the network down, lets the machine run,
# gives it fresh bytes over vsock, and takes the network up when everybody in there has acted on it.
# guest-after-restore.sh is the other half.
#
# One snapshot is made for many restores here, so each machine must be told apart from its siblings.
# Newer Firecracker changes the generation ID on load, which rngd reads on kernels that show it. That
# says "cloned"; it does not say that everybody has acted on it, and that is what is waited for here.
#
# In the guest, started before the snapshot is taken (a listening vsock outlives it):
#
#	socat VSOCK-LISTEN:52,fork,reuseaddr \
#		EXEC:'/usr/local/libexec/guest-after-restore.sh systemctl start open-to-traffic.target'
#
# The path of the vsock is in the snapshot, relative or not: give each clone a directory or a jail.
#
# Without vsock, ssh over a second interface will do, as in restore-qemu.sh. The metadata service
# (MMDS) will too, if the guest polls it: but any process in the guest can read what is there.
#
# DRY_RUN=1 prints what would be done. Exit status: 0 the network is up; 1 it is not.
# Needs curl and socat, and the right to change TAP.
set -u
API=${API:-/run/firecracker/api.sock}       # firecracker --api-sock, just started
VSOCK=${VSOCK:-/run/firecracker/vsock.sock} # uds_path of its vsock device
PORT=${PORT:-52}
TAP=${TAP:-tap0}
GUEST_S=${GUEST_S:-60} # for all of the guest's half
TRIES=${TRIES:-3}
DRY_RUN=${DRY_RUN:-}

say() {
	echo "restore-firecracker: $*" >&2
}

give_up() {
	say "$*: $TAP stays down"
	exit 1
}

run() {
	if [ -n "$DRY_RUN" ]; then
		echo "+ $*"
	else
		"$@"
	fi
}

# api METHOD PATH JSON - with --fail, as an answer of 400 is a failure too.
api() {
	run curl --silent --show-error --fail --unix-socket "$API" -X "$1" -H 'Content-Type: application/json' \
		-d "$3" "http://localhost$2"
}

# Firecracker's end of a vsock: a line CONNECT, answered by "OK ..."; then it is the guest's. It closes
# the whole connection at our end of file, so that is held back (ignoreeof): the guest's half takes 64
# bytes and waits for no end, and the connection is over when that has ended.
feed() {
	if [ -n "$DRY_RUN" ]; then
		echo "+ { echo CONNECT $PORT; head -c 64 /dev/urandom; } | socat -,ignoreeof UNIX-CONNECT:$VSOCK"
		return
	fi
	# Made anew for each try: bytes that were sent before may be known to a sibling.
	answer=$({ echo "CONNECT $PORT"; head -c 64 /dev/urandom; } |
		timeout "$GUEST_S" socat -,ignoreeof "UNIX-CONNECT:$VSOCK")
	# No exit status comes through. This line does, and only when all went well.
	echo "$answer" | grep -q '^settled [0-9]'
}

[ $# -eq 2 ] || {
	say "usage: restore-firecracker.sh STATE MEMORY"
	exit 1
}

run ip link set "$TAP" down || give_up "ip"
api PUT /snapshot/load \
	'{"snapshot_path":"'"$1"'","mem_backend":{"backend_type":"File","backend_path":"'"$2"'"},"resume_vm":false}' ||
	give_up "no snapshot"
api PATCH /vm '{"state":"Resumed"}' || give_up "not resumed"

try=1
until feed; do
	[ "$try" -lt "$TRIES" ] || give_up "the guest has not settled"
	say "try $try failed; again with new bytes"
	try=$((try + 1))
	sleep 1
done

run ip link set "$TAP" up || give_up "ip"
say "restored, settled, and up"

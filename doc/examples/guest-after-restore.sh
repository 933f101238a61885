#!/bin/sh
# SPDX-License-Identifier: ISC
#
# guest-after-restore.sh COMMAND [ARG...] - what a machine does when it was restored from a snapshot,
# before it may be reached: takes the host's bytes, tells rngd of the clone, waits until everybody has
# dropped what a sibling has too, then opens the gate by running COMMAND. As root, in the guest.
#
# The gate is yours: a firewall rule, a load balancer's health check, a unit that sshd or nginx waits
# for. It must be shut in the snapshot already. This script only ever opens it.
#
#	guest-after-restore.sh systemctl start open-to-traffic.target
#	guest-after-restore.sh nft delete table inet not-before-settled
#
# Standard input: BYTES random bytes that the host made for this machine alone. Their number is fixed
# so that channels without an end of file (a serial port, Firecracker's vsock) will do. They must
# arrive as they are: a terminal line has to be set raw.
#
# Standard output, when the gate is open: the line "settled GENERATION", for a host that does not
# learn the exit status. Exit status:
#	0	settled, and the gate is open
#	1	it will never do: no rngd that understands this, no permission, or COMMAND failed
#	2	it was called wrongly, or too few bytes came: nothing was done
#	75	not now: somebody has not yet acted, or rngd has no bytes to give. The gate is shut.
#		Call it again, with new bytes: one clone too many does no harm.
set -u
RNGCLI=${RNGCLI:-rngcli}
CONTROL=${CONTROL:-/run/rngd/control}
BYTES=${BYTES:-64}
BYTES_S=${BYTES_S:-10}   # for the bytes to arrive
SETTLE_S=${SETTLE_S:-30} # for the bump and for everybody to act on it

say() {
	echo "guest-after-restore: $*" >&2
}

if [ $# -eq 0 ]; then
	say "usage: guest-after-restore.sh COMMAND [ARG...], with the host's bytes on standard input"
	exit 2
fi

# The bytes go from pipe to pipe. In a variable they could end up in a trace or a log.
# bump checks how many there are. It returns when every subscriber has acknowledged this generation.
generation=$(timeout "$BYTES_S" head -c "$BYTES" |
	"$RNGCLI" bump --settle --control "$CONTROL" --timeout "$SETTLE_S")
status=$?

case $status in
0) ;;
75)
	say "not settled within $SETTLE_S s: the gate stays shut"
	exit 75
	;;
2)
	say "the host's bytes did not come, or too few of them: the gate stays shut"
	exit 2
	;;
*)
	say "rngcli ended with status $status: the gate stays shut"
	exit 1
	;;
esac

# Standard output belongs to the one line below, standard input to the host.
if ! "$@" </dev/null >&2; then
	say "the gate could not be opened by: $*"
	exit 1
fi
echo "settled $generation"

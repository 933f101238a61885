#!/bin/bash
# What rngd inherits does it no harm: closed and open descriptors, blocked signals, a log that is stuck,
# gone or limited, a narrow mode mask.
set -u
. "$(dirname "$0")/lib.sh"

serves() {
	wait_for 20 answers || fail "$1: no answer"
	[ "$("$RNGCLI" --socket "$SOCK" 100000 | wc -c)" -eq 100000 ] || fail "$1: bytes are missing"
}

# Standard descriptors closed, one or all: log lines must not reach a client or a file of ours.
# closed NAME COMMAND... - the command runs its arguments with descriptors closed
closed() {
	local name=$1
	shift
	rm -f "$SOCK"
	"$@" "$RNGD" --socket "$SOCK" &
	RNGD_PID=$!
	serves "$name"
	kill -HUP "$RNGD_PID"
	serves "$name, after SIGHUP"
	[ -s "$SOCK.lock" ] && fail "$name: the log went to the lock file: $(cat "$SOCK.lock")"
	stop_rngd
}
# shellcheck disable=SC2016
closed "no stderr" bash -c 'exec "$@" 2>&-' --
# shellcheck disable=SC2016
closed "no standard descriptors" bash -c 'exec "$@" <&- >&- 2>&-' --

# Descriptors that were not meant for it are closed, whatever the filter would allow.
rm -f "$SOCK"
start_rngd 7</dev/zero 9<>"$TMP/file"
for fd in /proc/"$RNGD_PID"/fd/*; do
	case $(readlink "$fd") in
	/dev/zero | "$TMP/file") fail "an inherited descriptor is still open: $(readlink "$fd")" ;;
	esac
done
stop_rngd

# Blocked and ignored signals.
rm -f "$SOCK"
RNGD_WRAP=(env --block-signal=TERM --block-signal=ALRM --block-signal=HUP --default-signal=PIPE)
start_rngd
kill -HUP "$RNGD_PID"
serves "blocked signals"
# Those it reads from a descriptor are blocked (HUP, INT, TERM), and no other.
blocked=$(awk '/^SigBlk:/ { print $2 }' "/proc/$RNGD_PID/status")
[ "$blocked" = 0000000000004003 ] || fail "blocked signals: $blocked"
stop_rngd
RNGD_WRAP=()

# A log that nobody reads: full pipe. SIGHUP logs each time; the service and SIGTERM must not care.
rm -f "$SOCK"
mkfifo "$TMP/log"
exec 5<>"$TMP/log"
"$RNGD" --socket "$SOCK" 2>"$TMP/log" &
RNGD_PID=$!
wait_for 20 answers || fail "full log: no answer"
dd if=/dev/zero of="$TMP/log" bs=4096 oflag=nonblock status=none 2>/dev/null
for _ in 1 2 3 4 5; do
	kill -HUP "$RNGD_PID"
	serves "full log"
done
stop_rngd
exec 5>&-

# A log whose reader is gone, and one that hits the limit on file sizes.
rm -f "$SOCK"
"$RNGD" --socket "$SOCK" 2> >(exec true) &
RNGD_PID=$!
serves "log without a reader"
kill -HUP "$RNGD_PID"
serves "log without a reader, after SIGHUP"
stop_rngd
rm -f "$SOCK"
(ulimit -f 0 && exec "$RNGD" --socket "$SOCK" 2>>"$TMP/limited") &
RNGD_PID=$!
serves "limited log"
stop_rngd

# Too few descriptors to serve anybody is an error at once, not a daemon that accepts nobody.
rm -f "$SOCK"
if (ulimit -n 8 && exec "$RNGD" --socket "$SOCK" 2>"$TMP/few"); then
	fail "served with 8 descriptors"
fi
grep -q 'at least 64' "$TMP/few" || fail "few descriptors: $(cat "$TMP/few")"
exit 0

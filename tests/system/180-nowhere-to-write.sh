#!/bin/bash
# Nowhere to write: no room or a read-only directory for the epoch page, a log that is closed, full or
# not read, a service manager that is gone. None of it ends the service or slows it; only what was asked
# for by name and cannot be had keeps rngd from starting.
set -u
. "$(dirname "$0")/lib.sh"

SLOW_MS=1000
[ -z "$SAN" ] || SLOW_MS=10000
STIR=$BUILD/tests/stir
BARE_LOG=$RNGD_LOG

page() {
	"$BUILD/tests/page_reader" show "$1" | sed -n "s/^$2=//p"
}

# serves WHAT - bytes, a status, a clone that is told, and not slowly: that, in one of three times.
serves() {
	local begin_ms took_ms try
	for try in 1 2 3; do
		begin_ms=$(now_ms)
		"$RNGCLI" --socket "$SOCK" --hex 16 >/dev/null || fail "$1: no bytes"
		for _ in 1 2 3; do
			"$STIR" ask "$SOCK.control" bump 32 | grep -q '^0 ' || fail "$1: no bump"
		done
		[ "$(status_value state)" = serving ] || fail "$1: state $(status_value state)"
		took_ms=$(($(now_ms) - begin_ms))
		[ $took_ms -gt $SLOW_MS ] || return 0
		note "$1: took $took_ms ms, the $try. time"
	done
	fail "$1: took $took_ms ms, and no less before"
}

# refuses_to_start WHAT PATTERN OPTION...
refuses_to_start() {
	local what=$1 pattern=$2 status
	shift 2
	: >"$RNGD_LOG"
	timeout 10 "$RNGD" --socket "$SOCK" "$@" 2>"$RNGD_LOG"
	status=$?
	[ $status -eq 1 ] || fail "$what: exit status $status"
	grep -q "$pattern" "$RNGD_LOG" || fail "$what: it does not say why"
	[ "$(grep -vc 'no user' "$RNGD_LOG")" -eq 1 ] || fail "$what: not one line"
}

# --- 1. The page's directory.
small=$TMP/small
mkdir "$small"
mounted=
unmount() {
	for where in $mounted; do
		umount "$where"
	done
	cleanup
}
trap unmount EXIT
rooms=0
if mount -t tmpfs -o size=16k,mode=755 rngd-test "$small" 2>/dev/null; then
	mounted=$small
	rooms=1
	head -c 1M /dev/zero >"$small/fill" 2>/dev/null
	# Not asked for: a warning, and service without it. Asked for: the end.
	SOCK=$small/rngd.sock
	start_rngd
	grep -q 'No space left on device' "$RNGD_LOG" || fail "full: it does not say why"
	grep -q 'going on without an epoch page' "$RNGD_LOG" || fail "full: no warning"
	[ "$(status_value epoch.published)" = false ] || fail "full: a page is said to be there"
	serves "full, without a page"
	stop_rngd
	[ ! -e "$small/rngd.sock.epoch" ] || fail "full: half a page was left"
	refuses_to_start "full" 'No space left on device' --epoch "$small/epoch"
	# Full later: the page is there, and so is its room.
	rm "$small/fill"
	start_rngd
	head -c 1M /dev/zero >"$small/fill" 2>/dev/null
	word=$(page "$SOCK.epoch" word)
	serves "full later"
	[ "$(page "$SOCK.epoch" word)" != "$word" ] || fail "full later: the word did not move"
	stop_rngd
	generation=$(page "$SOCK.epoch" generation)
	start_rngd
	[ "$(page "$SOCK.epoch" generation)" = "$generation" ] || fail "full: another page after a start"
	serves "full, with a page"
	stop_rngd
	# Read-only, with a page there and without.
	mkdir "$TMP/ro"
	if mount --bind "$small" "$TMP/ro" && mounted="$TMP/ro $mounted" &&
		mount -o remount,bind,ro "$TMP/ro"; then
		SOCK=$TMP/rngd.sock
		refuses_to_start "read-only" 'Read-only file system' --epoch "$TMP/ro/epoch"
		refuses_to_start "read-only, with a page" 'Read-only file system' \
			--epoch "$TMP/ro/rngd.sock.epoch"
		SOCK=$TMP/ro/new.sock
		refuses_to_start "read-only, for the socket" 'Read-only file system'
	else
		rooms=0
	fi
	SOCK=$TMP/rngd.sock
fi

# --- 2. The log. logless WHAT - with standard error as the caller gives it.
logless() {
	"$RNGD" --socket "$SOCK" &
	RNGD_PID=$!
	wait_for 20 answers || fail "$1: rngd did not come up"
	serves "$1"
	stop_rngd
}
logless "log closed" 2>&-
logless "log on a full device" 2>/dev/full
mkfifo "$TMP/pipe"
# A reader that goes away, and one that never reads: the pipe is filled to the brim first.
cat "$TMP/pipe" >/dev/null &
reader=$!
exec 8>"$TMP/pipe"
kill -KILL $reader
{ wait $reader; } 2>/dev/null
logless "log into a broken pipe" 2>&8
exec 8>&-
sleep 60 <"$TMP/pipe" &
exec 8>"$TMP/pipe"
timeout 1 dd if=/dev/zero of=/dev/fd/8 bs=4096 oflag=nonblock 2>/dev/null
logless "log into a full pipe" 2>&8
exec 8>&-
RNGD_LOG=$BARE_LOG

# --- 3. The service manager: never there, and gone later.
export NOTIFY_SOCKET=$TMP/nobody
start_rngd
grep -q 'cannot reach the service manager' "$RNGD_LOG" || fail "no manager: not a word"
serves "no manager"
stop_rngd
export NOTIFY_SOCKET=$TMP/notify
"$BUILD/tests/notify_listen" "$TMP/said" "$NOTIFY_SOCKET" - -- sleep 60 &
manager=$!
there() {
	[ -S "$NOTIFY_SOCKET" ]
}
wait_for 5 there || fail "no manager to take away"
start_rngd
kill -TERM $manager
{ wait $manager; } 2>/dev/null
rm -f "$NOTIFY_SOCKET"
serves "manager gone"
stop_rngd
unset NOTIFY_SOCKET
if [ $rooms -eq 1 ]; then
	note "pages, logs and managers"
else
	note "logs and managers; no right to mount, so no full or read-only page"
fi

#!/bin/bash
# Under a service manager: passed sockets, readiness, stopping, and everything odd that can be passed.
set -u
. "$(dirname "$0")/lib.sh"

HEARD=$TMP/heard
as_service() {
	RNGD_WRAP=("$BUILD/tests/notify_listen" "$HEARD" "$@" --)
}

heard() {
	grep -q "^$1" "$HEARD"
}

# heard_times MESSAGE COUNT - at least so often by now.
heard_times() {
	[ "$(grep -c "^$1" "$HEARD")" -ge "$2" ]
}

# refuses SAYING - started so, rngd ends by itself and says these words.
refuses() {
	timeout 10 "${RNGD_WRAP[@]}" "$RNGD" --socket "$TMP/unused" 2>"$TMP/err"
	[ $? -eq 1 ] || fail "started: $(cat "$TMP/err")"
	grep -q "$1" "$TMP/err" || fail "'$1' is not said: $(cat "$TMP/err")"
	[ ! -e "$TMP/unused" ] && [ ! -e "$TMP/unused.lock" ] || fail "made a socket of its own"
}

# Readiness by a path and by an abstract name; with a passed socket and with one of its own.
for notify in "$TMP/notify" "@rngd-test-$$"; do
	for listen in "$SOCK" -; do
		as_service "$notify" "$listen"
		rm -f "$SOCK" "$SOCK.lock"
		start_rngd
		wait_for 10 heard READY=1 || fail "no READY=1 by $notify"
		# By then it is seeded, and behind its filter (which the sanitizers have too).
		[ "$(head -n 1 "$HEARD")" = "READY=1 seccomp=2" ] || fail "first heard: $(cat "$HEARD")"
		heard STOPPING && fail "STOPPING=1 before it was told"
		wait_for 10 heard 'STATUS=Serving; ' || fail "no STATUS="
		stop_rngd
		wait_for 10 heard STOPPING=1 || fail "no STOPPING=1 by $notify"
		[ "$(grep -vc '^STATUS=' "$HEARD")" -eq 2 ] || fail "heard: $(cat "$HEARD")"
	done
	[ ! -e "$SOCK.lock" ] || rm "$SOCK.lock"
done

# The watchdog hears of it while the loop turns, and not while it stands. SIGHUP is a reload.
export WATCHDOG_USEC=20000000
as_service "$TMP/notify" -
rm -f "$SOCK" "$SOCK.lock"
start_rngd
unset WATCHDOG_USEC
wait_for 20 heard_times WATCHDOG=1 3 || fail "the watchdog hears nothing: $(cat "$HEARD")"
kill -STOP "$RNGD_PID"
wait_for 10 grep -q '^State:.*T' "/proc/$RNGD_PID/status" || fail "it does not stand"
before=$(grep -c '^WATCHDOG=1' "$HEARD")
sleep 3 # three ticks that must not come; one may be under way, and one comes with SIGCONT
kill -CONT "$RNGD_PID"
[ "$(($(grep -c '^WATCHDOG=1' "$HEARD") - before))" -le 2 ] || fail "the watchdog hears a daemon that stands"
wait_for 20 heard_times WATCHDOG=1 $((before + 2)) || fail "the watchdog hears nothing after a pause"
kill -HUP "$RNGD_PID"
wait_for 10 heard_times READY=1 2 || fail "no READY=1 after a reload"
[ "$(grep -oE '^(READY|RELOADING|MONOTONIC_USEC)' "$HEARD" | xargs)" = "READY RELOADING MONOTONIC_USEC READY" ] ||
	fail "a reload was told as: $(cat "$HEARD")"
stop_rngd
rm -f "$SOCK.lock"

# A passed socket is used instead of --socket, and is left where it is.
as_service - "$SOCK"
rm -f "$SOCK"
"${RNGD_WRAP[@]}" "$RNGD" --socket "$TMP/unused" 2>>"$RNGD_LOG" &
RNGD_PID=$!
wait_for 20 answers || fail "a passed socket is not served"
[ ! -e "$TMP/unused" ] && [ ! -e "$SOCK.lock" ] || fail "made a socket of its own"
stop_rngd
[ -S "$SOCK" ] || fail "removed the manager's socket"

# No first seed: never ready.
if "$BUILD/tests/inject" close 0 usr1 -- true; then
	as_service "$TMP/notify" -
	timeout 10 "${RNGD_WRAP[@]}" "$BUILD/tests/inject" getrandom EIO 1 -- "$RNGD" \
		--socket "$TMP/seedless" 2>/dev/null
	[ $? -eq 1 ] || fail "no first seed: not status 1"
	[ ! -s "$HEARD" ] || fail "no first seed, but heard $(cat "$HEARD")"
fi

# A manager that cannot be reached is a warning.
for notify in "=relative" "=/nonexistent/notify" "=/$(printf '%0200d' 0)" "=@" "="; do
	as_service "$notify" -
	rm -f "$SOCK" "$SOCK.lock"
	: >"$RNGD_LOG"
	start_rngd
	grep -q 'service manager' "$RNGD_LOG" || fail "NOTIFY_SOCKET$notify: no warning"
	stop_rngd
done

# Sockets that are not fit.
for listen in tcp dgram; do
	as_service - "$listen"
	refuses 'not a listening UNIX stream socket'
done
RNGD_WRAP=(bash -c 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<>/dev/null' --)
refuses 'not a listening UNIX stream socket'
RNGD_WRAP=(bash -c 'LISTEN_PID=$$ LISTEN_FDS=9 exec "$@"' --)
RNGD_WRAP+=(bash -c 'LISTEN_PID=$$ exec "$@" 3<&0 4<&0 5<&0 6<&0 7<&0 8<&0 9<&0 10<&0 11<&0' --)
refuses 'at most 8'
# Meant for another process: not ours.
RNGD_WRAP=(env LISTEN_PID=1 LISTEN_FDS=1)
rm -f "$SOCK"
start_rngd
stop_rngd

# The real thing, when it is there: two sockets, and the first client starts the daemon.
if command -v systemd-socket-activate >/dev/null; then
	# It hands on no environment but what is named.
	RNGD_WRAP=(systemd-socket-activate -E "ASAN_OPTIONS=${ASAN_OPTIONS:-}" -l "$SOCK" -l "$TMP/second")
	rm -f "$SOCK"
	start_rngd
	"$RNGCLI" --socket "$TMP/second" 16 >/dev/null || fail "the second socket is not served"
	[ "$(status_value server.accepted)" -ge 3 ] || fail "not one daemon for both"
	stop_rngd
else
	echo "systemd-socket-activate is not installed"
fi

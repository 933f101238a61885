#!/bin/bash
# 64 clients at once, random ones killed: nobody left alive sees an error, and when they are gone the
# daemon has the descriptors and the memory it had before. LOAD_SECONDS says how long.
set -u
. "$(dirname "$0")/lib.sh"

SECONDS_LONG=${LOAD_SECONDS:-5}
CLIENTS=64
GROWTH_KB=512

rss_kb() {
	awk '/^VmRSS:/ { print $2 }' "/proc/$RNGD_PID/status"
}

# A daemon that dropped its privileges hides its descriptors from all but root.
fds() {
	if [ "$(id -u)" -eq 0 ]; then
		find "/proc/$RNGD_PID/fd" -mindepth 1 | wc -l
	else
		status_value server.connections
	fi
}

# left - the killed clients' connections are closed.
left() {
	[ "$(fds)" -eq "$fds_before" ] && [ "$(status_value server.connections)" -eq 1 ]
}

start_rngd --reseed-interval 1
fds_before=$(idle_fds)
"$BUILD/tests/load" "$SOCK" 1 "$CLIENTS" >/dev/null || fail "load, while warming up"
wait_for 10 left || fail "after the warm-up $(fds) descriptors are open, $fds_before before"
rss_before=$(rss_kb)

figures=$("$BUILD/tests/load" "$SOCK" "$SECONDS_LONG" "$CLIENTS") || fail "load: $figures"
wait_for 10 left || fail "$(fds) descriptors are open, $fds_before before"
rss_after=$(rss_kb)
if [ -z "$SAN" ]; then
	[ $((rss_after - rss_before)) -le "$GROWTH_KB" ] ||
		fail "resident memory went from $rss_before to $rss_after kB"
fi
[ "$(status_value reseed.failures)" -eq 0 ] || fail "reseeds failed"
[ "$(status_value reseed.count)" -ge "$SECONDS_LONG" ] || fail "too few reseeds under load"
[ "$(status_value server.accept_pauses)" -eq 0 ] || fail "out of descriptors"
stop_rngd
grep -v 'no user\|serves\|stopping' "$RNGD_LOG" && fail "unexpected log lines"
note "$figures; $fds_before descriptors, $rss_before -> $rss_after kB"

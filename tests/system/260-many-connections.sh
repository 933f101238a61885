#!/bin/bash
# 18,000 idle connections and 1,000 active ones of 40 users: all are let in and served, within bounded memory.
# How the active ones fare is printed, and judged by make bench-scale alone.
set -u
. "$(dirname "$0")/lib.sh"

IDLE=18000 ACTIVE=1000
RSS_MAX_KB=24576
FILES=20000

[ "$(id -u)" -eq 0 ] || skip "other users' connections need root"
[ "$(ulimit -H -n)" -ge "$FILES" ] || skip "needs $FILES descriptors"
ulimit -n "$FILES"

start_rngd --max-connections 19900 --max-connections-per-uid 600
out=$("$BUILD/tests/bench/scale" "$SOCK" "$RNGD_PID" memory "$IDLE" "$ACTIVE") || fail "not all were served: $out"
eval "$out"
[ -n "$SAN" ] || [ "$rss_kb" -le "$RSS_MAX_KB" ] || fail "resident memory is $rss_kb kB"
gone() {
	[ "$(status_value server.connections)" -eq 1 ]
}
wait_for 20 gone || fail "$(status_value server.connections) connections are left"
stop_rngd
note "$rss_kb kB resident with $IDLE idle and $ACTIVE active connections, $rss_before_kb without; p99 of the active $p99_us us"

#!/bin/bash
# rngd is killed again and again under a hundred callers, and started anew each time: no call fails
# within its two seconds, and nothing is ever given out twice. STORM_KILLS says how often.
set -u
. "$(dirname "$0")/lib.sh"

KILLS=${STORM_KILLS:-10}
CALLERS=100
TIMEOUT_MS=2000
PAUSE_MS=5
[ -z "$SAN" ] || TIMEOUT_MS=20000

start_rngd
callers_start $CALLERS $TIMEOUT_MS $PAUSE_MS
kills=0
while [ $kills -lt "$KILLS" ]; do
	sleep "0.$((1 + RANDOM % 2))$((RANDOM % 10))"
	kill -KILL "$RNGD_PID" 2>/dev/null || fail "the daemon ended by itself"
	{ wait "$RNGD_PID"; } 2>/dev/null
	kills=$((kills + 1))
	"$RNGD" --socket "$SOCK" 2>>"$RNGD_LOG" 7>&- &
	RNGD_PID=$!
done
wait_for 20 answers || fail "no daemon after $kills kills"
callers_report
during=$(tail -n 1 "$TMP/called")
[ "$(callers_figure failed)" -eq 0 ] || fail "$during: $(sort "$TMP/err" | uniq -c)"
[ "$(callers_figure fewest)" -ge "$kills" ] || fail "a caller made no progress: $during"
# And then all is well: each of them is served.
all_served() {
	callers_report
	[ "$(callers_figure fewest)" -gt 0 ] && [ "$(callers_figure failed)" -eq 0 ]
}
wait_for 10 all_served || fail "a caller is not served any more: $(tail -n 1 "$TMP/called")"
callers_end
[ "$(callers_figure replies)" -ge $((kills * CALLERS)) ] || fail "too few replies: this test proves nothing"
stop_rngd
note "$kills kills: $during, $(tail -n 1 "$TMP/called")"

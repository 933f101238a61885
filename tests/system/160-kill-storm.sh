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

figure() {
	sed -n "s/.*$1=\([0-9]*\).*/\1/p" "$TMP/called" | tail -n 1
}

start_rngd
mkfifo "$TMP/ask"
"$BUILD/tests/callers" "$SOCK" $CALLERS $TIMEOUT_MS $PAUSE_MS <"$TMP/ask" >"$TMP/called" 2>"$TMP/err" &
callers=$!
exec 7>"$TMP/ask"
ready() {
	grep -q ready "$TMP/called"
}
wait_for 20 ready || fail "the callers do not start: $(cat "$TMP/err")"
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
reports=0
report() {
	reports=$((reports + 1))
	echo >&7
	wait_for 10 reported || fail "no report"
}
reported() {
	[ "$(grep -c calls= "$TMP/called")" -ge $reports ]
}
report
during=$(tail -n 1 "$TMP/called")
[ "$(figure failed)" -eq 0 ] || fail "$during: $(sort "$TMP/err" | uniq -c)"
[ "$(figure fewest)" -ge "$kills" ] || fail "a caller made no progress: $during"
# And then all is well: each of them is served.
all_served() {
	report
	[ "$(figure fewest)" -gt 0 ] && [ "$(figure failed)" -eq 0 ]
}
wait_for 10 all_served || fail "a caller is not served any more: $(tail -n 1 "$TMP/called")"
exec 7>&-
wait $callers || fail "$(tail -n 1 "$TMP/called"): $(cat "$TMP/err")"
[ "$(figure repeated)" -eq 0 ] || fail "$(tail -n 1 "$TMP/called")"
[ "$(figure replies)" -ge $((kills * CALLERS)) ] || fail "too few replies: this test proves nothing"
stop_rngd
note "$kills kills: $during, $(tail -n 1 "$TMP/called")"

#!/bin/bash
# Descriptors run out below the limit on connections, since somebody lowered theirs: rngd neither
# spins nor dies nor floods its log, those it has are served on, and it is back as soon as they let go.
set -u
. "$(dirname "$0")/lib.sh"

LIMIT=64
HELD=200
CPU_MAX_PERCENT=5
OVER_S=2

cpu_ticks() {
	awk '{ print $14 + $15 }' "/proc/$RNGD_PID/stat"
}

# as_rngd COMMAND... - as the user that the daemon became.
as_rngd() {
	local uid
	uid=$(awk '/^Uid:/ { print $2 }' "/proc/$RNGD_PID/status")
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --reuid "$uid" --regid "$(awk '/^Gid:/ { print $2 }' "/proc/$RNGD_PID/status")" \
			--clear-groups "$@"
	else
		"$@"
	fi
}

start_rngd --max-connections 800 --max-connections-per-uid 400
as_rngd prlimit --pid "$RNGD_PID" --nofile="$LIMIT" || skip "the limit on descriptors cannot be lowered"
mkfifo "$TMP/ask"
"$BUILD/tests/hold_fds" "$SOCK" 40 <"$TMP/ask" >"$TMP/held" 2>"$TMP/err" &
holder=$!
exec 7>"$TMP/ask"
more=()
for _ in 1 2 3 4; do
	mkfifo "$TMP/more.${#more[@]}"
	"$BUILD/tests/hold_fds" "$SOCK" $(((HELD - 40) / 4)) <"$TMP/more.${#more[@]}" \
		>"$TMP/held.${#more[@]}" 2>>"$TMP/err" &
	more+=("$!")
done
exec 3>"$TMP/more.0" 4>"$TMP/more.1" 5>"$TMP/more.2" 6>"$TMP/more.3"
all_held() {
	[ "$(cat "$TMP"/held* | grep -c holds)" -eq 5 ]
}
wait_for 20 all_held || fail "connections are refused: $(cat "$TMP/err")"
paused() {
	grep -q 'cannot accept' "$RNGD_LOG"
}
wait_for 10 paused || fail "descriptors did not run out"

# For all of 2 s nobody gets in, and it costs next to nothing.
before=$(cpu_ticks)
"$RNGCLI" --socket "$SOCK" --timeout "$OVER_S" 1 >/dev/null 2>&1 && fail "descriptors were left"
used_percent=$((($(cpu_ticks) - before) * 100 / OVER_S / $(getconf CLK_TCK)))
[ "$used_percent" -lt "$CPU_MAX_PERCENT" ] || fail "it spins: $used_percent% of a processor"
kill -0 "$RNGD_PID" 2>/dev/null || fail "it died"
[ "$(grep -c 'cannot accept' "$RNGD_LOG")" -eq 1 ] || fail "more than one log line"

# Who is in is served.
echo ask >&7
answered() {
	grep -q 'served\|silent' "$TMP/held"
}
wait_for 10 answered
grep -q served "$TMP/held" || fail "an open connection is not served"

exec 3>&- 4>&- 5>&- 6>&- 7>&-
wait "$holder" "${more[@]}"
begin_ms=$(now_ms)
"$RNGCLI" --socket "$SOCK" --timeout 1 1 >/dev/null || fail "not back after 1 s"
took_ms=$(($(now_ms) - begin_ms))
[ "$(status_value server.accept_pauses)" -gt 0 ] || fail "accept_pauses does not count"
stop_rngd

# The same when the whole system has none left: accept4 says ENFILE for a while, with a client waiting.
if [ -z "$SAN" ] && "$BUILD/tests/inject" close 0 usr1 -- true >/dev/null 2>&1; then
	RNGD_WRAP=("$BUILD/tests/inject" accept4 ENFILE 1 5 --)
	start_rngd
	[ "$(status_value server.accept_pauses)" -ge 5 ] || fail "ENFILE does not pause accepting"
	stop_rngd
fi
note "used $used_percent% of a processor meanwhile, back after $took_ms ms"

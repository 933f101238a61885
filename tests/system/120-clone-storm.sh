#!/bin/bash
# Clones without end: 10^5 changes of a sign within a second while clients fetch, 10^5 LOOKs in a row, and
# a daemon that is killed 200 times in the middle of it while somebody reads the page without a pause.
# CLONE_KILLS and CLONE_SECONDS say how often, and for how long at most.
set -u
. "$(dirname "$0")/lib.sh"

STIR=$BUILD/tests/stir
PAGE=$SOCK.epoch
KILLS=${CLONE_KILLS:-200}
KILL_SECONDS=${CLONE_SECONDS:-20}
KILLS_MIN=$((KILLS / 4)) # on a busy machine, in that time
CHANGES=100000
STORM_MS=1000
CLIENTS=4
SOON_MS=1000
GROWTH_KB=512
[ -z "$SAN" ] || SOON_MS=10000

page() {
	"$BUILD/tests/page_reader" show "$PAGE" | sed -n "s/^$1=//p"
}

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

left() {
	[ "$(fds)" -eq "$fds_before" ]
}

# figure NAME - out of what "stir fetch" printed.
figure() {
	sed -n "s/.*$1=\([0-9]*\).*/\1/p" "$TMP/fetched"
}

# soon - a client is served, without being told to ask anew, in less than a second.
soon() {
	"$STIR" fetch "$SOCK" 200 1 >"$TMP/fetched" || fail "$what: no service afterwards"
	{ [ "$(figure fewest)" -gt 0 ] && [ "$(figure again)" -eq 0 ]; } ||
		fail "$what: afterwards $(cat "$TMP/fetched")"
	[ "$(figure slowest_ms)" -le $SOON_MS ] || fail "$what: afterwards $(cat "$TMP/fetched")"
}

# storm WHAT FILE - 10^5 changes of this file while clients fetch.
storm() {
	local begin_ms end_ms lines moved generation fds_before rss_before
	what="storm of $1"
	"$STIR" fetch "$SOCK" 300 $CLIENTS >/dev/null || fail "$what: while warming up"
	fds_before=$(idle_fds)
	rss_before=$(rss_kb)
	generation=$(page generation)
	lines=$(wc -l <"$RNGD_LOG")
	begin_ms=$(now_ms)
	"$STIR" fetch "$SOCK" $((STORM_MS + 500)) $CLIENTS >"$TMP/fetched" 2>"$TMP/err" &
	local clients=$!
	"$STIR" add "$2" 0 $CHANGES $STORM_MS >/dev/null || fail "$what: cannot change the file"
	wait $clients || fail "$what: a client failed: $(cat "$TMP/err")"
	end_ms=$(now_ms)
	[ "$(figure fewest)" -gt 0 ] || fail "$what: a client made no progress: $(cat "$TMP/fetched")"
	figures="$figures$1: $(cat "$TMP/fetched"); "
	soon
	moved=$(($(page generation) - generation))
	[ "$moved" -ge 100 ] || fail "$what: $moved clones only: this test proves nothing"
	[ "$(page agrees)" -eq 1 ] || fail "$what: the word does not agree"
	lines=$(($(wc -l <"$RNGD_LOG") - lines))
	[ $lines -le $((2 * ((end_ms - begin_ms) / 1000 + 1))) ] ||
		fail "$what: $lines lines in $((end_ms - begin_ms)) ms"
	[ $lines -ge 1 ] || fail "$what: not a word in the log"
	wait_for 10 left || fail "$what: $(fds) descriptors, $fds_before before"
	if [ -z "$SAN" ]; then
		[ $(($(rss_kb) - rss_before)) -le $GROWTH_KB ] ||
			fail "$what: resident memory went from $rss_before to $(rss_kb) kB"
	fi
	figures="$figures$moved clones, $lines lines; "
}

figures=
for file in vmgenid source; do
	head -c 4096 /dev/urandom >"$TMP/$file"
	chmod 644 "$TMP/$file"
done
start_rngd --vmgenid "$TMP/vmgenid" --epoch-source "$TMP/source"
storm vmgenid "$TMP/vmgenid"
storm source "$TMP/source"
[ "$(status_value reseed.failures)" -eq 0 ] || fail "reseeds failed"
[ "$(status_value reseed.restarts)" -gt 0 ] || fail "bytes of an aged state were not thrown away"

# 10^5 LOOKs of one client: the others get their turn.
what="many LOOKs"
"$STIR" looks "$SOCK" $CHANGES >"$TMP/looks" 2>"$TMP/err" &
looker=$!
"$STIR" fetch "$SOCK" 1000 1 >"$TMP/fetched" || fail "$what: another client failed"
wait $looker || fail "$what: $(cat "$TMP/err")"
[ "$(figure slowest_ms)" -le $SOON_MS ] || fail "$what: another client waited: $(cat "$TMP/fetched")"
figures="$figures$(cat "$TMP/looks"), meanwhile slowest_ms=$(figure slowest_ms)"
soon
stop_rngd

# Killed again and again, at any moment, also while it starts.
clean_start() {
	start_rngd --vmgenid "$TMP/vmgenid" --epoch-source "$TMP/source"
}
clean_start
inode=$(stat -c %i "$PAGE")
mkfifo "$TMP/go"
"$BUILD/tests/page_reader" watch "$PAGE" <"$TMP/go" >"$TMP/seen" 2>"$TMP/wrong" &
reader=$!
exec 7>"$TMP/go"
ready() {
	grep -q ready "$TMP/seen"
}
wait_for 10 ready || fail "the reader does not start: $(cat "$TMP/wrong")"
first=$(page generation)
# One changes the file 5000 times a second; another has the daemon look, and bumps it, without a pause.
"$STIR" add "$TMP/vmgenid" 0 $((KILL_SECONDS * 3 * 5000)) $((KILL_SECONDS * 3000)) >/dev/null 7>&- &
changer=$!
"$STIR" press "$SOCK.control" 7>&- &
presser=$!
kills=0
end=$((SECONDS + KILL_SECONDS))
while [ $kills -lt "$KILLS" ] && [ $SECONDS -lt $end ]; do
	sleep "0.0$((RANDOM % 8))$((RANDOM % 10))"
	kill -0 "$reader" 2>/dev/null || break
	kill -KILL "$RNGD_PID" 2>/dev/null || fail "the daemon ended by itself"
	{ wait "$RNGD_PID"; } 2>/dev/null
	kills=$((kills + 1))
	"$RNGD" --socket "$SOCK" --vmgenid "$TMP/vmgenid" --epoch-source "$TMP/source" \
		2>>"$RNGD_LOG" 7>&- &
	RNGD_PID=$!
done
kill -0 "$reader" 2>/dev/null || fail "after $kills kills: $(cat "$TMP/wrong")"
wait_for 20 answers || fail "no daemon after $kills kills"
{ kill -KILL $changer $presser && wait $changer $presser; } 2>/dev/null
# What was last said is still true: nothing was lost on the way, and nothing is made up.
"$STIR" ask "$SOCK" look >/dev/null || fail "no answer after $kills kills"
{ kill -KILL "$RNGD_PID" && wait "$RNGD_PID"; } 2>/dev/null
generation=$(page generation)
clean_start
[ "$(page generation)" -eq "$generation" ] || fail "a clone was made up at the last start"
stop_rngd
"$STIR" add "$TMP/vmgenid" 0 >/dev/null
clean_start
[ "$(page generation)" -eq $((generation + 1)) ] || fail "a clone was lost at the last start"
exec 7>&-
wait $reader || fail "after $kills kills: $(cat "$TMP/wrong")"
stop_rngd
[ "$(stat -c %i "$PAGE")" = "$inode" ] || fail "another inode"
[ $kills -ge $KILLS_MIN ] || fail "only $kills kills in $KILL_SECONDS s"
[ $((generation - first)) -ge $kills ] ||
	fail "$((generation - first)) clones during $kills kills: this test proves nothing"
note "$figures; $kills kills: $(tail -n 1 "$TMP/seen")"

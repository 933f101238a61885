#!/bin/bash
# rngcli settle and bump --settle: whom they wait for, whom not, and what they say when it takes too long.
set -u
. "$(dirname "$0")/lib.sh"
SUBSCRIBER=$BUILD/tests/subscriber

start_rngd --kmsg "$TMP/no-log"
cli() {
	timeout 60 "$RNGCLI" --socket "$SOCK" "$@"
}
seed() {
	head -c 32 /dev/urandom
}

# ---------------------------------------------------------------- subscribers that are told what to do
declare -A PIDS=() INS=()
# subscribe NAME [WRAPPER...]
subscribe() {
	local name=$1 in
	shift
	rm -f "$TMP/$name.in"
	mkfifo "$TMP/$name.in"
	"$@" "$SUBSCRIBER" "$SOCK" <"$TMP/$name.in" >"$TMP/$name.out" 2>&1 &
	PIDS[$name]=$!
	exec {in}>"$TMP/$name.in"
	INS[$name]=$in
	tell "$name" connect
	heard "$name" '^subscribed '
}
tell() {
	echo "$2" >&"${INS[$1]}"
}
heard() { # NAME PATTERN
	wait_for 20 grep -qE "$2" "$TMP/$1.out" || fail "$1 did not hear $2: $(cat "$TMP/$1.out")"
}
end() { # NAME
	kill -KILL "${PIDS[$1]}" 2>/dev/null
	wait "${PIDS[$1]}" 2>/dev/null
	exec {INS[$1]}>&-
}
# bump - a clone; sets generation
bump() {
	generation=$(seed | cli bump) || fail "bump: status $?"
}

# settles [OPTION...] - in time, with the generation and nothing else
settles() {
	local got
	got=$(cli settle -t 20 "$@" 2>"$TMP/err") || fail "settle $*: status $?: $(cat "$TMP/err")"
	[ "$got" = "$generation" ] || fail "settle $* printed '$got', not $generation"
	[ ! -s "$TMP/err" ] || fail "settle $* said: $(cat "$TMP/err")"
}
# unsettled PATTERN... - not in time; standard error has lines with each of these
unsettled() {
	local pattern status
	cli settle -t 0.4 >"$TMP/stdout" 2>"$TMP/err"
	status=$?
	[ $status -eq 75 ] || fail "settle: status $status, not 75: $(cat "$TMP/err")"
	[ ! -s "$TMP/stdout" ] || fail "settle printed $(cat "$TMP/stdout")"
	! grep -v '^rngcli: ' "$TMP/err" || fail "settle says more than errors"
	for pattern in "$@"; do
		grep -qE "$pattern" "$TMP/err" || fail "no '$pattern' in: $(cat "$TMP/err")"
	done
}

# ---------------------------------------------------------------- nobody, and somebody
generation=$(cli look)
settles
settles --after $((generation - 1))
generation=$((generation + 1))
[ "$(seed | cli bump --settle)" = $generation ] || fail "bump --settle with nobody to wait for"

subscribe one
settles # it owes nothing from before
bump
heard one "^event $generation$"
me=$(id -u)
unsettled "^rngcli: waited for: uid $me pid ${PIDS[one]} \(subscriber\), has not read the event, connected, for [0-9]+\.[0-9]{3} s$" \
	"generation $generation is not settled: 1 have not acted on it, and 1 of them are waited for; 1 are subscribed"
tell one taken
wait_for 20 eval 'cli settle -t 0.1 2>&1 | grep -q "(subscriber), read the event, connected"' || fail "it was not taken"
# It acts while it is waited for.
"$RNGCLI" --socket "$SOCK" settle -t 30 >"$TMP/late" 2>"$TMP/late.err" &
settling=$!
wait_for 20 eval '[ "$(cat /proc/'$settling'/comm)" = rngcli ]' || fail "no settle runs"
tell one done
wait $settling || fail "settle did not see a late acknowledgement: $(cat "$TMP/late.err")"
[ "$(cat "$TMP/late")" = "$generation" ] || fail "settle printed $(cat "$TMP/late")"
settles

# ---------------------------------------------------------------- one that never acts
begin_ms=$(now_ms)
seed | cli bump --settle -t 1 >"$TMP/stdout" 2>"$TMP/err"
[ "${PIPESTATUS[1]}" -eq 75 ] || fail "bump --settle with one that never acts"
[ ! -s "$TMP/stdout" ] || fail "bump --settle printed $(cat "$TMP/stdout")"
took_ms=$(($(now_ms) - begin_ms))
[ $took_ms -ge 1000 ] && [ $took_ms -lt 15000 ] || fail "--timeout 1 took $took_ms ms"
generation=$((generation + 1))
grep -q "generation $generation is not settled" "$TMP/err" || fail "it does not name the generation: $(cat "$TMP/err")"
grep -qE "^rngcli: waited for: .* pid ${PIDS[one]} " "$TMP/err" || fail "it is not named: $(cat "$TMP/err")"

# ---------------------------------------------------------------- one that comes back, one that leaves, one that dies
tell one drop
wait_for 20 eval 'cli settle -t 0.1 2>&1 | grep -q "pid '"${PIDS[one]}"' (subscriber), .*, not connected"' ||
	fail "one that dropped its connection is not waited for: $(cli settle -t 0.1 2>&1)"
tell one connect
heard one "^event $generation$"
tell one done
settles
bump
heard one "^event $generation$"
tell one leave
settles
tell one connect
wait_for 20 eval '[ "$(grep -c "^event '$generation'$" "$TMP/one.out")" -eq 2 ]' || fail "one did not come back"
end one # while it owes
settles

# A dead one that nobody has waited for has a number still.
if command -v python3 >/dev/null; then
	subscribe parent python3 -c '
import os, sys, time
if os.fork() == 0:
    os.execv(sys.argv[1], sys.argv[1:])
sys.stdin.close()
os.close(0)
time.sleep(600)'
	bump
	heard parent "^event $generation$"
	tell parent end
	settles
	end parent
fi

# ---------------------------------------------------------------- those who are not waited for
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	subscribe nobody setpriv --reuid 65534 --regid 65534 --clear-groups --
	subscribe one
	bump
	heard nobody "^event $generation$"
	heard one "^event $generation$"
	unsettled "^rngcli: waited for: uid 0 pid ${PIDS[one]} " \
		"^rngcli: not waited for: uid 65534 pid ${PIDS[nobody]} " 'and 1 of them are waited for; 2 are subscribed'
	tell one done
	settles
	end nobody
	end one
else
	note "not root: nobody who is not waited for was there"
fi

# ---------------------------------------------------------------- more than a list has
stop_rngd # which forgets the dead
start_rngd --kmsg "$TMP/no-log"
subscribe one
tell one crowd
heard one '^crowded$'
wait_for 20 eval '[ "$(status_value events.subscribers)" = 71 ]' || fail "$(status_value events.subscribers) subscribers"
bump
heard one "^event $generation$"
unsettled '^rngcli: and 7 more$' 'and 71 of them are waited for; 71 are subscribed'
[ "$(grep -c '^rngcli: waited for' "$TMP/err")" -eq 64 ] || fail "$(grep -c 'waited for' "$TMP/err") rows"
end one
# Seven of the dead do not fit into the list, and nobody can say that they are.
unsettled 'connected|ended'
stop_rngd
start_rngd --kmsg "$TMP/no-log"
settles

# ---------------------------------------------------------------- a clone that is awaited
cli settle --after "$generation" -t 0.3 >"$TMP/stdout" 2>"$TMP/err"
[ $? -eq 75 ] && [ ! -s "$TMP/stdout" ] || fail "settle --after the present one: $(cat "$TMP/stdout")"
[ "$(wc -l <"$TMP/err")" -eq 1 ] && grep -q 'no clone was noticed.*bump' "$TMP/err" ||
	fail "no clone, and the error is: $(cat "$TMP/err")"
cli settle --after 18446744073709551615 -t 0.1 2>/dev/null && fail "settled after the last generation of all"
"$RNGCLI" --socket "$SOCK" settle --after "$generation" -t 30 >"$TMP/late" &
settling=$!
wait_for 20 eval '[ "$(cat /proc/'$settling'/comm)" = rngcli ]' || fail "no settle runs"
bump
wait $settling || fail "settle --after missed the clone"
[ "$(cat "$TMP/late")" = "$generation" ] || fail "settle --after printed $(cat "$TMP/late")"

# ---------------------------------------------------------------- the daemon is started anew
subscribe one
bump
heard one "^event $generation$"
tell one done
settles
stop_rngd
heard one '^closed$'
start_rngd --kmsg "$TMP/no-log"
tell one connect
settles
# One that owes, and is not back yet: the new daemon does not know of it.
bump
heard one "^event $generation$"
stop_rngd
before=$(now_ms)
start_rngd --kmsg "$TMP/no-log"
cli settle -t 0.4 >/dev/null 2>"$TMP/err"
status=$?
if [ $(($(now_ms) - before)) -lt 2500 ]; then
	[ $status -eq 75 ] && grep -q 'started a moment ago' "$TMP/err" ||
		fail "settled right after the start: status $status: $(cat "$TMP/err")"
else
	note "the start took too long to see who is given time to come back"
fi
wait_for 20 eval '[ "$(grep -c "^closed$" "$TMP/one.out")" -eq 2 ]' || fail "one did not see the end"
tell one connect
wait_for 20 eval '[ "$(grep -c "^event '$generation'$" "$TMP/one.out")" -eq 2 ]' || fail "one did not come back"
unsettled "^rngcli: waited for: .* pid ${PIDS[one]} "
tell one done
settles
end one

# ---------------------------------------------------------------- what is refused
# expect STATUS WORD ARG... - one line of error, without anything that moves a cursor
expect() {
	local want=$1 word=$2 got
	shift 2
	"$RNGCLI" "$@" >"$TMP/stdout" 2>"$TMP/err" </dev/null
	got=$?
	[ $got -eq "$want" ] || fail "rngcli $1: status $got, not $want: $(head -c 500 "$TMP/err")"
	[ ! -s "$TMP/stdout" ] || fail "rngcli $1: wrote to standard output"
	[ "$(wc -l <"$TMP/err")" -eq 1 ] && grep -q '^rngcli: ' "$TMP/err" || fail "rngcli $1: $(head -c 500 "$TMP/err")"
	! LC_ALL=C grep -q $'[\x01-\x1f\x7f]' "$TMP/err" || fail "rngcli $1: control characters in the error"
	[ "$(wc -c <"$TMP/err")" -lt 9000 ] || fail "rngcli $1: an error of $(wc -c <"$TMP/err") bytes"
	grep -qe "$word" "$TMP/err" || fail "rngcli $1: no '$word' in: $(head -c 500 "$TMP/err")"
}
evil=$'a\nrngcli: b\t\e[2J\x7f\r'
huge=$(head -c 131000 /dev/zero | tr '\0' x) # an argument can have 131071 bytes
for text in "$evil" "$huge"; do
	expect 2 'one argument too many' bump "$text"
	expect 2 'one argument too many' settle "$text"
	expect 2 'is not a generation' settle --after "$text"
	expect 2 'too long' bump --no-bytes --control "/$(printf %0200d 0)${text:0:100000}"
	expect 2 'unknown option' bump "--reason=$text"
	expect 2 'takes no value' bump "--settle=$text"
	expect 2 'not a time' settle --timeout "$text"
done
expect 75 'no rngd at' settle --control "$TMP/$evil"
expect 2 'not an option of settle' settle --settle
expect 2 'not an option of bump' bump --after 1
expect 2 'not an option of look' look --settle
expect 2 'needs a value' settle --after
expect 1 'control socket' settle --control "$SOCK"
cli settle -t 5 >/dev/full 2>"$TMP/err" && fail "settle >/dev/full succeeded"

stop_rngd
expect 75 'no rngd at' settle --socket "$SOCK"

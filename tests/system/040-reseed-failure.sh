#!/bin/bash
# The kernel's generator fails: at start nothing is ever served; later every request is refused, the
# status says why, it is tried again with growing pauses, and service comes back by itself.
set -u
. "$(dirname "$0")/lib.sh"

INJECT=$BUILD/tests/inject
[ -x "$INJECT" ] || fail "no $INJECT: make tests"
"$INJECT" close 0 usr1 -- true || skip "ptrace is not permitted here"

get() {
	"$RNGCLI" --socket "$SOCK" --hex 16
}

# armed COUNT OPTION... - a daemon whose getrandom() fails COUNT times (0: for ever) after arm.
armed() {
	RNGD_WRAP=("$INJECT" getrandom EIO usr1 "$1" --)
	shift
	: >"$RNGD_LOG"
	start_rngd "$@"
}

arm() {
	kill -USR1 "$RNGD_PID" || fail "the daemon is gone"
}

status_is() {
	[ "$(status_value "$1")" = "$2" ]
}

# failed_times COUNT - at least: who looks late finds one more.
failed_times() {
	[ "$(status_value reseed.failures)" -ge "$1" ]
}

refused() {
	local status
	get >"$TMP/out" 2>"$TMP/err"
	status=$?
	[ "$status" -ne 0 ] || fail "a request was answered with a state that could not be renewed"
	[ "$status" -eq 75 ] || fail "rngcli ended with $status: $(cat "$TMP/err")"
	[ ! -s "$TMP/out" ] || fail "a refused request printed something"
	grep -q 'refuses for now' "$TMP/err" || fail "rngcli says: $(cat "$TMP/err")"
}

# 1. No first seed: it ends without having answered anybody.
"$INJECT" getrandom EIO 1 -- "$RNGD" --socket "$SOCK" 2>"$RNGD_LOG" &
pid=$!
while kill -0 "$pid" 2>/dev/null; do
	get >"$TMP/out" 2>/dev/null && fail "answered without a first seed"
	[ ! -s "$TMP/out" ] || fail "printed something without a first seed"
done
wait "$pid" && fail "no first seed, but exit status 0"
grep -q 'no first seed: Input/output error' "$RNGD_LOG" || fail "it does not say why"
grep -q 'serves' "$RNGD_LOG" && fail "it came up without a first seed"

# 2. A later reseed fails four times: pauses of 0.1, 0.2, 0.4 and 0.8 s, whoever asks meanwhile.

# while_it_fails - what must hold before the fourth failure is behind it; says what does not.
while_it_fails() {
	refused
	status_is state refusing || fail "state is $(status_value state)"
	status_is reseed.error 'Input/output error' || fail "reseed.error: $(status_value reseed.error)"
	status_is source.kernel failed || fail "source.kernel: $(status_value source.kernel)"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		uptime_ms
		[ $((NOW_MS - start_ms)) -lt 1000 ] || break # half a second before it is back
		refused
	done
}

# when_it_is_back - likewise.
when_it_is_back() {
	[ "$took_ms" -ge 1500 ] || fail "back after $took_ms ms: tried more often than it should"
	[ "$took_ms" -le 5000 ] || fail "back only after $took_ms ms"
	status_is reseed.failures 4 || fail "reseed.failures: $(status_value reseed.failures)"
	status_is state serving || fail "state is $(status_value state)"
	status_is reseed.error none || fail "reseed.error: $(status_value reseed.error)"
	status_is reseed.last_reason request || fail "last_reason: $(status_value reseed.last_reason)"
	status_is reseed.count 2 || fail "reseed.count: $(status_value reseed.count)"
	[ "$(grep -c 'reseed failed' "$RNGD_LOG")" -eq 1 ] || fail "not one line about the failure"
	[ "$(grep -c 'serving again' "$RNGD_LOG")" -eq 1 ] || fail "not one line about the return"
}

# four_failures - once. Sets took_ms; wrong, to what was said; and excuse, where that may be another's doing.
four_failures() {
	local aged
	excuse=
	armed 4
	get >/dev/null || fail "no bytes before the failure"
	aged=$(status_value detector.kernel.aged)
	arm
	start_ms=$(now_ms)
	kill -HUP "$RNGD_PID"
	wait_for 5 failed_times 1 || fail "SIGHUP did not lead to a failed reseed"
	wrong=$(while_it_fails)
	wait_for 10 answers || fail "it did not come back by itself"
	took_ms=$(($(now_ms) - start_ms))
	[ -z "$wrong" ] || [ "$took_ms" -lt 1500 ] || excuse="too slow to see it fail"
	[ -n "$wrong" ] || wrong=$(when_it_is_back)
	[ "$(status_value detector.kernel.aged)" = "$aged" ] || excuse="the kernel reseeded"
	stop_rngd
}
# Once a minute the kernel reseeds, which takes calls of getrandom() in the vDSO and is a reason to reseed too; and a
# machine that stands for a second may see that it is back before all was asked. Then once more.
for try in 1 2 3; do
	four_failures
	[ -n "$wrong" ] || break
	[ -n "$excuse" ] && [ $try -lt 3 ] || fail "${wrong#FAIL: }"
	note "$excuse: ${wrong%%$'\n'*}"
done

# 3. Nobody asks: the state grows old all the same, and is not served when somebody does. A
# request under way is cut off by an error. It still stops when told.
armed 0 --reseed-interval 1
"$RNGCLI" --socket "$SOCK" 1T >/dev/null 2>"$TMP/long" &
long=$!
arm
wait_for 10 status_is state refusing || fail "an old state is not noticed"
refused
wait "$long" && fail "a request under way was not ended"
grep -q 'refuses for now' "$TMP/long" || fail "the request under way: $(cat "$TMP/long")"
wait_for 10 failed_times 3 || fail "an idle daemon does not try again"
refused
stop_rngd

# 4. It fails under the detector of the kernel's reseeds (both calls that the vDSO makes then): that says so, and
# comes back. Nothing is refused by then, and no state from before it is served.
answers_as() {
	[ "$(status_value "detector.kernel.$1")" = "$2" ]
}
kernel_seen() {
	[ "$(status_value detector.kernel.aged)" -ge $((aged + 2)) ] && answers_as state active
}
if [ "$(id -u)" -eq 0 ] && "$BUILD/tests/stir" kernel 2>/dev/null; then
	armed 2
	if answers_as state active; then
		aged=$(status_value detector.kernel.aged)
		arm
		"$BUILD/tests/stir" kernel || fail "the kernel was not made to reseed"
		wait_for 10 kernel_seen || fail "$("$RNGCLI" --socket "$SOCK" status | grep -i kernel)"
		status_is state serving || fail "state is $(status_value state)"
		status_is reseed.failures 0 || fail "reseed.failures: $(status_value reseed.failures)"
		get >/dev/null || fail "no bytes after it"
	fi
	stop_rngd
fi
note "back $took_ms ms after the first of 4 failures"

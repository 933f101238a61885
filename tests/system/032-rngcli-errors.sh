#!/bin/bash
# rngcli: exit codes, and one clear line for each error.
set -u
. "$(dirname "$0")/lib.sh"

start_rngd
cli() {
	"$RNGCLI" --socket "$SOCK" "$@"
}

# check_error STATUS WHAT GOT - the status, one line on standard error, nothing on standard output
check_error() {
	[ "$3" -eq "$1" ] || fail "$2: status $3, not $1"
	[ "$(wc -l <"$TMP/err")" -eq 1 ] || fail "$2: not one line: $(cat "$TMP/err")"
	grep -q '^rngcli: ' "$TMP/err" || fail "$2: $(cat "$TMP/err")"
}

# expect STATUS ARG...
expect() {
	local want=$1
	shift
	"$RNGCLI" "$@" >"$TMP/stdout" 2>"$TMP/err"
	check_error "$want" "rngcli $*" $?
	[ ! -s "$TMP/stdout" ] || fail "rngcli $*: wrote to standard output"
}

# Usage.
for n in '' 0 0K -1 +1 ' 1' '1 ' 1.5K 1x 1Kx 0x10 K 16E 99999999999999999999 '1 2'; do
	expect 2 -s "$SOCK" -- "$n"
done
expect 2 -s "$SOCK" -5
expect 2 -s "$SOCK" 1 2
expect 2 -s "$SOCK" bogus
grep -q "'bogus' is neither a command nor a size" "$TMP/err" || fail "a mistyped command: $(cat "$TMP/err")"
expect 2 -s "$SOCK" --uuid 2E
expect 2 -s "$SOCK" --uuid 1152921504606846977 # 16 bytes, were it to wrap
expect 2 -s "$SOCK" 18014398509481985K         # 1 K
expect 2 -s "$SOCK" --bogus
expect 2 -s "$SOCK" -Z
expect 2 -s "$SOCK" --hex=1
expect 2 -s "$SOCK" status 1
expect 2 -s "$SOCK" status --hex
expect 2 -s "$SOCK" get --json
expect 2 --socket
expect 2 --socket ''
expect 2 --out ''
expect 2 -s "$TMP/$(printf 'x%.0s' {1..108})"
for t in '' 0 0.0 -1 1s 1.2345 .5 1. 1..2 9999999999; do
	expect 2 -s "$SOCK" --timeout "$t"
done
formats=(--hex --base64 --uuid --raw)
for a in "${formats[@]}"; do
	for b in "${formats[@]}"; do
		[ "$a" = "$b" ] || expect 2 -s "$SOCK" "$a" "$b"
	done
done

# Help and version.
"$RNGCLI" --help >"$TMP/stdout" || fail "--help: status $?"
for word in get status --hex --base64 --uuid --raw --out --json --socket --timeout --quiet; do
	grep -qe "$word" "$TMP/stdout" || fail "--help does not mention $word"
done
"$RNGCLI" --version | grep -qE '^rngcli [0-9]' || fail "--version"

# Outputs that cannot be written.
for args in "" "5M" "--hex" "--help" "--version" "status" "status --json"; do
	# shellcheck disable=SC2086
	cli $args >/dev/full 2>"$TMP/err"
	check_error 1 "rngcli $args >/dev/full" $?
	# shellcheck disable=SC2086
	cli $args >&- 2>"$TMP/err"
	check_error 1 "rngcli $args >&-" $?
done
cli 1G 2>"$TMP/err" | head -c 10 >/dev/null
[ "${PIPESTATUS[0]}" -eq 1 ] || fail "closed pipe: not status 1"
[ ! -s "$TMP/err" ] || fail "closed pipe: $(cat "$TMP/err")"
cli >/dev/full 2>&- # no place for the message
[ $? -eq 1 ] || fail "/dev/full without standard error: not status 1"

# The daemon does not answer: in time.
kill -STOP "$RNGD_PID"
begin_ms=$(now_ms)
expect 75 -s "$SOCK" -t 0.2
expect 75 -s "$SOCK" -t 0.2 status
took_ms=$(($(now_ms) - begin_ms))
[ $took_ms -lt 5000 ] || fail "--timeout 0.2, twice, took $took_ms ms"
kill -CONT "$RNGD_PID"

# No permission. Root is told apart from its right to override modes.
chmod 000 "$SOCK"
as_mode_says=()
[ "$(id -u)" -eq 0 ] && as_mode_says=(setpriv --bounding-set=-dac_override --inh-caps=-dac_override)
"${as_mode_says[@]}" "$RNGCLI" -s "$SOCK" 2>"$TMP/err" >/dev/null
status=$?
chmod 666 "$SOCK"
check_error 1 "no permission" $status

# The daemon dies in the middle of the output, and does not come back.
mkfifo "$TMP/fifo"
cli -t 0.5 1T >"$TMP/fifo" 2>"$TMP/err" &
cli_pid=$!
exec 3<"$TMP/fifo"
head -c 3000000 <&3 >/dev/null
kill -KILL "$RNGD_PID"
wait "$RNGD_PID" 2>/dev/null
cat <&3 >/dev/null
exec 3<&-
wait $cli_pid
check_error 75 "the daemon was killed" $?

# Its socket file is still there; then it is not; then it is something else.
[ -S "$SOCK" ] || fail "a killed daemon left no socket file: the test needs one"
expect 75 -s "$SOCK"
expect 75 -s "$TMP/nothing"
expect 75 -s "$TMP/nothing" status
expect 75 -s "$TMP/err"
grep -q "no rngd at $TMP/err: .*--socket" "$TMP/err" || fail "the error does not say what to do"

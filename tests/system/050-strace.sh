#!/bin/bash
# What a serving rngd calls, seen from outside: nothing that doc/sandbox.md does not list.
set -u
. "$(dirname "$0")/lib.sh"

[ -z "$SAN" ] || skip "a sanitizer makes calls of its own"
strace -D -o /dev/null true 2>/dev/null || skip "strace cannot trace here"

# -D: rngd is our child and strace its child, so that the signals reach the right one.
RNGD_WRAP=(strace -D -f -o "$TMP/trace")
start_rngd --reseed-interval 1
"$BUILD/tests/load" "$SOCK" 2 8 >/dev/null || fail "load"
"$RNGCLI" --socket "$SOCK" status >/dev/null || fail "status"
"$RNGCLI" --socket "$SOCK" 3M | head -c 1000 >/dev/null
kill -HUP "$RNGD_PID"
count=$(status_value reseed.count)
reseeded() {
	[ "$(status_value reseed.count)" -gt "$count" ]
}
wait_for 10 reseeded || fail "no reseed"
"$RNGCLI" --socket "$SOCK" --timeout 1 1T >/dev/null 2>&1 &
busy=$!
wait_for 10 answers || fail "no answer while busy"
stop_rngd
wait "$busy"

traced() {
	tail -n 1 "$TMP/trace" | grep -q 'exited with 0'
}
wait_for 10 traced || fail "the trace ends with $(tail -n 1 "$TMP/trace")"

# All calls after the one that installed the filter (libseccomp tries out flags before, which fails).
sed -n '1,/seccomp(SECCOMP_SET_MODE_FILTER.* = 0$/d; p' "$TMP/trace" |
	sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' | sort | uniq -c | sort -rn >"$TMP/calls"
[ -s "$TMP/calls" ] || fail "no call is seen after the filter was installed"
# shellcheck disable=SC2016
sed -n 's/^| `\([a-z0-9_]*\)` |.*/\1/p' "$ROOT/doc/sandbox.md" | sort -u >"$TMP/allowed"
while read -r times call; do
	grep -qx "$call" "$TMP/allowed" || fail "$call was called ($times times) and is not listed"
done <"$TMP/calls"
for call in accept4 recvmsg sendto getrandom write close read; do
	grep -q " $call\$" "$TMP/calls" || fail "the trace misses $call: this test proves nothing"
done
# Each connection's owner is asked for once, before anything is read from it.
sed -n 's/^[0-9]* *accept4(.* = \([0-9][0-9]*\)$/accept \1/p
	s/^[0-9]* *getsockopt(\([0-9]*\), SOL_SOCKET, SO_PEERCRED.* = 0$/owner \1/p
	s/^[0-9]* *recvmsg(\([0-9]*\),.*/read \1/p' "$TMP/trace" >"$TMP/peers"
awk '$1 == "accept" { if (new[$2]) exit 1; new[$2] = 1; n++ }
	$1 == "owner" { if (!new[$2]) exit 1; new[$2] = 0; owners++ }
	$1 == "read" && new[$2] { exit 1 }
	END { exit n == 0 || n != owners }' "$TMP/peers" || fail "a peer is read before its owner is known, or the owner is not asked for once"
note "$(awk '{ n += $1 } END { print n " calls of " NR " kinds" }' "$TMP/calls")," \
	"$(wc -l <"$TMP/allowed") are allowed"

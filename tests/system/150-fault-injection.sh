#!/bin/bash
# Every system call of rngd fails once, in turn: as it starts, as it serves, as it ends. It serves as
# ever, or it ends with one line that says why and the next one starts; what it serves has a seed, and
# nobody but the client concerned notices. Of the start a sample is
# taken, all of it with FAULTS=whole (some ten minutes).
set -u
. "$(dirname "$0")/lib.sh"

FAULTS=${FAULTS:-sample}

[ -z "$SAN" ] || skip "a sanitizer makes calls of its own, and ends the process when they fail"
"$BUILD/tests/inject" close 0 usr1 -- true || skip "ptrace is not permitted here"

figures=
for phase in start serve stop; do
	how=whole
	[ $phase = start ] && how=$FAULTS
	"$BUILD/tests/faults" $phase "$RNGD" "$TMP" "$how" >"$TMP/$phase" 2>&1 ||
		fail "$phase: $(cat "$TMP/$phase")"
	last=$(tail -n 1 "$TMP/$phase")
	count=${last#faults=}
	[ "${count%% *}" -ge 15 ] || fail "$phase: $last: this test proves nothing"
	figures="$figures$phase: ${count%% *} faults, "
	cat "$TMP/$phase"
done
# What the tables must show, or the calls that matter were never failed.
column() {
	awk -v call="$2" -v at="$3" '$1 == call { print $at }' "$TMP/$1"
}
[ "$(column start getrandom 3)" -gt 0 ] || fail "no start ended for want of a seed"
[ "$(column start seccomp 3)" -gt 0 ] || fail "no start ended for want of a sandbox"
for call in accept4 recvmsg sendto sendmsg epoll_ctl close getrandom pwrite64; do
	[ "$(column serve $call 2)" -gt 0 ] || fail "$call was never failed while serving"
done
note "${figures%, }; none that it did not bear"

#!/bin/bash
# rngcli bump, reseed, look and epoch: what they do, what they refuse, and their exit codes.
set -u
. "$(dirname "$0")/lib.sh"
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip "/dev/shm is no tmpfs to publish a page on"
PLACE=$(mktemp -d /dev/shm/rngd-test.XXXXXX)
trap 'cleanup; rm -rf "$PLACE"' EXIT
chmod 755 "$PLACE"
SOCK=$PLACE/rngd.sock # the page and the control socket lie beside it
head -c 16 /dev/urandom >"$PLACE/vmgenid"

start_rngd --kmsg "$PLACE/no-log" --vmgenid "$PLACE/vmgenid"
cli() {
	timeout 20 "$RNGCLI" --socket "$SOCK" "$@"
}
seed() {
	head -c "${1:-32}" /dev/urandom
}
field() {
	cli epoch | sed -n "s/^$1  *//p"
}
# expect STATUS WORD ARG... - that exit code, one line of error with WORD in it, no output
expect() {
	local want=$1 word=$2 got
	shift 2
	"$RNGCLI" --socket "$SOCK" "$@" >"$TMP/stdout" 2>"$TMP/err"
	got=$?
	[ $got -eq "$want" ] || fail "rngcli $*: status $got, not $want: $(cat "$TMP/err")"
	[ ! -s "$TMP/stdout" ] || fail "rngcli $*: wrote $(cat "$TMP/stdout")"
	[ "$(grep -c '^rngcli: ' "$TMP/err")" -eq 1 ] && [ "$(wc -l <"$TMP/err")" -eq 1 ] ||
		fail "rngcli $*: $(cat "$TMP/err")"
	grep -qe "$word" "$TMP/err" || fail "rngcli $*: no '$word' in: $(cat "$TMP/err")"
}

# look agrees with the page and the status; nothing was cloned yet.
first=$(cli look) || fail "look: status $?"
[ "$first" = "$(status_value generation)" ] || fail "look says $first"
[ "$first" = "$(field generation)" ] || fail "the page says $(field generation), look $first"
[[ $(field epoch) =~ ^0x[0-9a-f]{8}$ ]] || fail "the epoch is '$(field epoch)'"
[ "$(field state)" = serving ] || fail "the page's state is '$(field state)'"
[[ $(field watched) =~ ^for\ [0-9]+\ ms\ more$ ]] || fail "the page is watched '$(field watched)'"

# A clone that nothing but a look finds early.
before=$(field 'look again')
# In place, so that nobody reads the file while it is cut to nothing.
"$BUILD/tests/stir" add "$PLACE/vmgenid" 0 >/dev/null || fail "cannot change the generation ID"
[ "$(cli look)" -eq $((first + 1)) ] || fail "a new generation ID, and look says $(cli look)"
[ "$(field 'noticed by')" = vmgenid ] || fail "noticed by '$(field 'noticed by')'"
[ "$(field 'look again')" -gt "$before" ] || fail "look again did not move"
event=$(field event)
[[ $event =~ ^[0-9a-f]{32}$ ]] || fail "the event's id is '$event'"
[[ $(field 'last clone') =~ ^$(date -u +%Y)-[0-9-]+T[0-9:]+\.[0-9]{3}Z$ ]] || fail "'$(field 'last clone')'"

# The host's word, of every length that is allowed.
generation=$((first + 1))
for n in 32 33 1024; do
	generation=$((generation + 1))
	got=$(seed $n | cli bump) || fail "bump with $n bytes: status $?"
	[ "$got" = $generation ] || fail "bump with $n bytes printed '$got', not $generation"
done
[ "$(field generation)" = $generation ] || fail "the page missed the bump"
[ "$(field 'noticed by')" = host ] || fail "noticed by '$(field 'noticed by')'"
[ "$(field event)" != "$event" ] || fail "two events have one id"
[ "$(seed | "$RNGCLI" bump --control "$SOCK.control")" = $((generation + 1)) ] || fail "--control"
if grep -qw rdrand /proc/cpuinfo; then
	[ "$(cli bump --no-bytes </dev/null)" = $((generation + 2)) ] || fail "bump --no-bytes"
else
	expect 1 identical bump --no-bytes
fi

# A reseed moves no generation.
generation=$(cli look)
count=$(status_value reseed.count)
cli reseed >"$TMP/stdout" || fail "reseed: status $?"
[ ! -s "$TMP/stdout" ] || fail "reseed printed $(cat "$TMP/stdout")"
[ "$(status_value reseed.count)" -gt "$count" ] || fail "no reseed happened"
[ "$(cli look)" = "$generation" ] || fail "a reseed moved the generation"

# What is refused before anything is asked.
for n in 0 1 31 1025 100000; do
	seed $n >"$TMP/seed"
	expect 2 '32 to 1024' bump <"$TMP/seed"
done
expect 1 'standard input' bump <&-
expect 2 'standard input' bump < <(:)
expect 2 'not an option of reseed' reseed --no-bytes
expect 2 'not an option of look' look --control "$SOCK.control"
expect 2 'one argument too many' bump 32
expect 2 'needs a path' bump --control ''
expect 2 'too long' reseed --control "/$(printf 'x%.0s' {1..108})"
expect 2 'path' epoch ''
if command -v script >/dev/null; then
	script -qec "$RNGCLI --socket $SOCK bump; echo status \$?" /dev/null </dev/null >"$TMP/tty" 2>&1
	grep -q terminal "$TMP/tty" && grep -q 'status 2' "$TMP/tty" ||
		fail "bump from a terminal: $(cat "$TMP/tty")"
else
	note "no script(1): bump was not tried from a terminal"
fi

# And by the daemon: these belong on the control socket.
seed >"$TMP/seed"
expect 1 'control socket' bump --control "$SOCK" <"$TMP/seed"
expect 1 'control socket' reseed --control "$SOCK"
[ "$(cli look)" = "$generation" ] || fail "what was refused moved the generation"

# Pages that are none, and outputs that cannot be written.
expect 75 'no epoch page' epoch "$PLACE/nothing"
expect 1 'not an epoch page' epoch "$SOCK.lock"
expect 1 'not an epoch page' epoch /dev/null
for args in look epoch; do
	cli $args >/dev/full 2>"$TMP/err" && fail "$args >/dev/full succeeded"
done

# status shows all that is new, for people and for programs.
cli status >"$TMP/text"
for line in '^Clone detectors$' '^  vmgenid +active ' '^  clones +generation [0-9]+; last clone ' 'look again [0-9]+'; do
	grep -qE "$line" "$TMP/text" || fail "status has no line $line"
done
cli status --json >"$TMP/json" || fail "status --json"
grep -q '"detector.vmgenid.cloned": 1,' "$TMP/json" || fail "status --json has no clone"

# No daemon: try later. Its page is still there to read, and says so.
stop_rngd
for command in look reseed; do
	expect 75 'no rngd' $command
done
expect 75 'no rngd' bump <"$TMP/seed"
[ "$(field state)" = stopped ] && [ "$(field watched)" = no ] ||
	fail "after the end the page says $(field state), watched $(field watched)"

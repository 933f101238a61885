#!/bin/bash
# rngcli kernel-reseed moves the kernel's own generator, and says so truthfully; rngcli contribute.
set -u
. "$(dirname "$0")/lib.sh"

start_rngd --kmsg "$TMP/no-log"
cli() {
	timeout 60 "$RNGCLI" --socket "$SOCK" "$@"
}
seed() {
	head -c "$1" /dev/urandom
}
expect() {
	local want=$1 word=$2 got
	shift 2
	"${WRAP[@]}" "$RNGCLI" --socket "$SOCK" "$@" >"$TMP/stdout" 2>"$TMP/err"
	got=$?
	[ $got -eq "$want" ] || fail "rngcli $*: status $got, not $want: $(cat "$TMP/err")"
	[ ! -s "$TMP/stdout" ] || fail "rngcli $*: wrote $(cat "$TMP/stdout")"
	[ "$(wc -l <"$TMP/err")" -eq 1 ] && grep -q '^rngcli: ' "$TMP/err" || fail "rngcli $*: $(cat "$TMP/err")"
	grep -qe "$word" "$TMP/err" || fail "rngcli $*: no '$word' in: $(cat "$TMP/err")"
}
WRAP=()

# ---------------------------------------------------------------- contribute
for n in 1 33 1024; do
	seed $n | cli contribute >"$TMP/stdout" 2>"$TMP/err" || fail "contribute $n: status $?: $(cat "$TMP/err")"
	[ ! -s "$TMP/stdout" ] && [ ! -s "$TMP/err" ] || fail "contribute said $(cat "$TMP/stdout" "$TMP/err")"
done
for n in 0 1025 100000; do
	seed $n >"$TMP/seed"
	expect 2 '1 to 1024' contribute <"$TMP/seed"
done
expect 1 'standard input' contribute <&-
expect 2 'one argument too many' contribute 5 </dev/null
if command -v script >/dev/null; then
	script -qec "$RNGCLI --socket $SOCK contribute; echo status \$?" /dev/null </dev/null >"$TMP/tty" 2>&1
	grep -q 'is a terminal' "$TMP/tty" && grep -q 'status 2' "$TMP/tty" || fail "from a terminal: $(cat "$TMP/tty")"
fi
# 4096 bytes at once, 1024 more each second, of which some have passed.
seed 1024 >"$TMP/seed"
refused=
for _ in $(seq 40); do
	"$RNGCLI" --socket "$SOCK" -t 0.02 contribute <"$TMP/seed" 2>"$TMP/err" && continue
	grep -q 'no more of this user' "$TMP/err" || continue # too slow an answer for the deadline
	refused=yes
	break
done
[ -n "$refused" ] || note "the machine was too slow to contribute more than one may"
seed 1024 | cli -t 20 contribute || fail "contribute does not wait for its turn: status $?"

# ---------------------------------------------------------------- kernel-reseed: what is refused
expect 2 'add --stdin' kernel-reseed --no-daemon
for n in 0 31 1025; do
	seed $n >"$TMP/seed"
	expect 2 '32 to 1024' kernel-reseed --stdin <"$TMP/seed"
done
expect 2 'one argument too many' kernel-reseed 5
expect 2 'not an option of kernel-reseed' kernel-reseed --no-bytes
if [ "$(id -u)" -ne 0 ]; then
	expect 1 'CAP_SYS_ADMIN' kernel-reseed
elif command -v setpriv >/dev/null; then
	WRAP=(setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin)
	expect 1 'CAP_SYS_ADMIN' kernel-reseed
	WRAP=(setpriv --reuid 65534 --regid 65534 --clear-groups --)
	expect 1 'CAP_SYS_ADMIN' kernel-reseed
	WRAP=()
fi
seed 32 >"$TMP/seed"
stop_rngd
expect 75 'no rngd' kernel-reseed
expect 75 'no rngd' kernel-reseed --stdin <"$TMP/seed"

# ---------------------------------------------------------------- kernel-reseed: what it does
[ "$(id -u)" -eq 0 ] || skip "only root may reseed the kernel; contribute and what is refused passed"
cli kernel-reseed --no-daemon --stdin <"$TMP/seed" >"$TMP/stdout" 2>"$TMP/err"
status=$?
grep -q CAP_SYS_ADMIN "$TMP/err" && skip "this root has no CAP_SYS_ADMIN; contribute and what is refused passed"
[ $status -eq 0 ] || fail "kernel-reseed --no-daemon --stdin: status $status: $(cat "$TMP/err")"
start_rngd --kmsg "$TMP/no-log"
# moved BYTES [OPTION...]
moved() {
	local bytes=$1 before after
	shift
	cli kernel-reseed "$@" <"$TMP/seed" >"$TMP/stdout" 2>"$TMP/err" || fail "kernel-reseed $*: status $?: $(cat "$TMP/err")"
	[ ! -s "$TMP/err" ] || fail "kernel-reseed $* said $(cat "$TMP/err")"
	if grep -q "does not show whether it did$" "$TMP/stdout"; then
		[ "$(status_value detector.kernel.state)" != active ] || fail "the daemon sees the generation, rngcli does not"
		note "this kernel does not show its generation"
		return
	fi
	[[ $(cat "$TMP/stdout") =~ ^the\ kernel\'s\ generator\ was\ reseeded,\ with\ $bytes\ bytes\ more\ \(generation\ ([0-9]+)\ -\>\ ([0-9]+)\)$ ]] ||
		fail "kernel-reseed $* printed $(cat "$TMP/stdout")"
	before=${BASH_REMATCH[1]} after=${BASH_REMATCH[2]}
	[ "$after" -gt "$before" ] || fail "the generation went from $before to $after"
	# The next begins where this one ended, or later: it is the kernel's count and not a made-up one.
	[ "$before" -ge "${LAST:-0}" ] || fail "the generation went back from $LAST to $before"
	LAST=$after
}
moved 64
moved 64
moved 96 --stdin
moved 32 --stdin --no-daemon
seed 1024 >"$TMP/seed"
moved 1088 --stdin
moved 1024 --stdin --no-daemon
cli kernel-reseed >/dev/full 2>"$TMP/err" && fail "kernel-reseed >/dev/full succeeded"

# No byte is credited, and each is given: the calls, as the kernel sees them.
if command -v strace >/dev/null && [ -z "$SAN" ]; then
	strace -o "$TMP/trace" -e trace=ioctl,openat "$RNGCLI" --socket "$SOCK" kernel-reseed >/dev/null 2>&1
	grep -q 'RNDADDENTROPY' "$TMP/trace" && grep -q 'RNDRESEEDCRNG\|0x5207' "$TMP/trace" ||
		note "strace shows no calls: $(tail -n 1 "$TMP/trace")"
	! grep 'RNDADDENTROPY.*entropy_count=[1-9]' "$TMP/trace" || fail "entropy was credited"
fi

# After every clone, by watch.
"$RNGCLI" --socket "$SOCK" watch --count 1 --exec "'$RNGCLI' --socket '$SOCK' kernel-reseed" >"$TMP/stdout" 2>"$TMP/err" &
watch=$!
wait_for 20 eval '[ "$(status_value events.subscribers)" -eq 1 ]' || fail "watch does not subscribe"
seed 32 | cli bump --settle >/dev/null || fail "bump --settle: status $?"
grep -q "the kernel" "$TMP/stdout" || fail "settled, and the kernel was not asked: $(cat "$TMP/err")"
wait $watch || fail "watch: status $?"
stop_rngd

#!/bin/bash
# The published page: whose it is, who may do what with it, what its lease says of the daemon's life, and
# that the simplest program there is, which knows four bytes, is told of clones and of nothing else.
set -u
. "$(dirname "$0")/lib.sh"

STIR=$BUILD/tests/stir
PAGE=$SOCK.epoch
LEASE_MS=3000
LATE_MS=1500 # the machine is busy
[ -z "$SAN" ] || LATE_MS=5000

page() {
	"$BUILD/tests/page_reader" show "$PAGE" | sed -n "s/^$1=//p"
}

lease_runs() {
	[ "$(page lease_left_ms)" -gt 0 ]
}

lease_passed() {
	[ "$(page lease_left_ms)" -le 0 ]
}

renewed() {
	[ "$(page lease_ns)" -gt "$lease_ns" ]
}

# passes - the lease that was left passes in its time, and not before.
passes() {
	local left_ms begin_ms took_ms
	lease_ns=$(page lease_ns)
	left_ms=$(page lease_left_ms)
	[ "$left_ms" -gt 0 ] || fail "$what: the lease was over already"
	begin_ms=$(now_ms)
	wait_for 10 lease_passed || fail "$what: the lease does not pass"
	took_ms=$(($(now_ms) - begin_ms))
	[ "$took_ms" -le $((LEASE_MS + LATE_MS)) ] || fail "$what: the lease passed after $took_ms ms"
	[ "$(page lease_ns)" = "$lease_ns" ] || fail "$what: somebody renewed the lease"
}

# ends STATUS SAYING COMMAND... - the command ends within 10 s, with the status and the words.
ends() {
	local want=$1 saying=$2 status
	shift 2
	timeout 10 "$@" >"$TMP/out" 2>"$TMP/err"
	status=$?
	[ "$status" -eq "$want" ] || fail "status $status instead of $want: $* ($(cat "$TMP/err"))"
	grep -qe "$saying" "$TMP/err" || fail "'$saying' is not said: $* ($(cat "$TMP/err"))"
}

# The file, whatever the umask.
umask 077
start_rngd
umask 022
[ "$(stat -c '%a %s %h %F' "$PAGE")" = '644 4096 1 regular file' ] || fail "$(stat "$PAGE")"
[ "$(stat -c %u "$PAGE")" -eq "$(id -u)" ] || fail "the page is not ours: uid $(stat -c %u "$PAGE")"
[ "$(page valid)$(page version)$(page generation)$(page state)" = 1111 ] || fail "no page that serves"
[ "$(status_value epoch.published)" = true ] || fail "STATUS: not published"
[ "$(status_value epoch.word)" = "$(page word)" ] || fail "STATUS: another word"

# The lease: at most 3 s ahead, and renewed each second.
left_ms=$(page lease_left_ms)
{ [ "$left_ms" -gt 0 ] && [ "$left_ms" -le $LEASE_MS ]; } || fail "a lease of $left_ms ms"
begin_ms=$(now_ms)
for _ in 1 2; do
	lease_ns=$(page lease_ns)
	wait_for 5 renewed || fail "the lease is not renewed"
done
took_ms=$(($(now_ms) - begin_ms))
[ "$took_ms" -le $((2000 + LATE_MS)) ] || fail "two renewals took $took_ms ms"

# Stuck: it passes; back: it runs. Killed: it passes. Stopped: at once, and so it says.
what=SIGSTOP
kill -STOP "$RNGD_PID"
wait_for 10 grep -q '^State:.*stopped' "/proc/$RNGD_PID/status" || fail "it does not stop"
passes
kill -CONT "$RNGD_PID"
wait_for 5 lease_runs || fail "the lease does not run again after SIGCONT"
what=SIGKILL
{ kill -KILL "$RNGD_PID" && wait "$RNGD_PID"; } 2>/dev/null
passes
[ "$(page state)" -eq 1 ] || fail "SIGKILL: state $(page state)"
start_rngd
lease_runs || fail "no lease although it serves"
stop_rngd
[ "$(page lease_ns) $(page state)" = '0 0' ] || fail "stopped: lease $(page lease_ns), state $(page state)"

# One writer: whoever comes second is refused, and does no harm.
start_rngd
remember=$(page generation)$(page word)
ends 1 'another rngd publishes' "$RNGD" --socket "$TMP/second.sock" --epoch "$PAGE"
[ "$(page generation)$(page word)" = "$remember" ] || fail "a second daemon wrote to the page"
lease_ns=$(page lease_ns)
wait_for 5 renewed || fail "the first daemon was disturbed"
answers || fail "the first daemon does not answer"
stop_rngd

# --epoch must be what was asked for; what is beside the socket need not be.
for elsewhere in "$BUILD" /var/tmp .; do
	fs=$(stat -f -c %T "$elsewhere" 2>/dev/null)
	[ "$fs" != tmpfs ] && [ "$fs" != ramfs ] && [ -w "$elsewhere" ] && break
	elsewhere=
done
if [ -n "$elsewhere" ]; then
	disk=$(mktemp -d "$elsewhere/rngd-test.XXXXXX")
	ends 1 'not on a tmpfs' "$RNGD" --socket "$SOCK" --epoch "$disk/epoch"
	[ ! -e "$disk/epoch" ] || fail "a page was made on $fs"
	usual=$SOCK
	SOCK=$disk/sock
	start_rngd
	[ "$(status_value epoch.published)" = false ] || fail "published on $fs"
	# Nothing remembers the last generation here: it begins at the time, never where it was before.
	said=$("$STIR" ask "$SOCK" page)
	first=${said#9 }
	[ "$said" = "9 $first" ] && [ "$first" -gt 1000000000000000000 ] || fail "PAGE without a page: $said"
	[ "$("$STIR" ask "$SOCK.control" bump 32)" = "0 $((first + 1))" ] || fail "no BUMP without a page"
	stop_rngd
	grep -q 'without an epoch page' "$RNGD_LOG" || fail "no warning"
	SOCK=$usual
	rm -rf "$disk"
else
	note "every directory here is a tmpfs"
fi
for bad in "$TMP/a-directory" "$TMP/a-link" "$TMP/short" "$TMP/open"; do
	case $bad in
	*directory) mkdir "$bad" ;;
	*link) ln -s "$PAGE" "$bad" ;;
	*short) head -c 4095 "$PAGE" >"$bad" ;;
	*open) cp "$PAGE" "$bad" && chmod 666 "$bad" ;;
	esac
	sum=$(cksum "$bad" 2>/dev/null)
	ends 1 "$bad" "$RNGD" --socket "$SOCK" --epoch "$bad"
	[ "$(cksum "$bad" 2>/dev/null)" = "$sum" ] || fail "$bad was changed"
done

# Anybody may read it, and nobody else write, remove or lock it out.
start_rngd
if [ "$(id -u)" -eq 0 ]; then
	nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	# Up to where it moves when the kernel reseeds.
	"${nobody[@]}" head -c 4096 "$PAGE" | cmp -s -n 24 - "$PAGE" || fail "others cannot read it"
	"${nobody[@]}" dd if=/dev/zero of="$PAGE" bs=1 count=1 conv=notrunc 2>/dev/null &&
		fail "others can write it"
	"${nobody[@]}" truncate -s 0 "$PAGE" 2>/dev/null && fail "others can truncate it"
	"${nobody[@]}" "$STIR" ask "$SOCK.control" bump 32 >/dev/null 2>&1 && fail "others can bump"
	"${nobody[@]}" "$RNGD" --socket "$TMP/nobody.sock" --epoch "$PAGE" 2>/dev/null &&
		fail "others can publish it"
else
	note "not root: other users are not tried"
fi

stop_rngd

# A control socket whose path would be too long: an error where it was asked for, else a warning.
ends 2 '^rngd: --control: ' "$RNGD" --socket "$SOCK" --control "$TMP/$(printf '%0100d' 0)"
ends 2 '^rngd: --control-mode ' "$RNGD" --socket "$SOCK" --control-mode 0800
usual=$SOCK
SOCK=$TMP/$(printf '%0108d' 0 | cut -c "1-$((106 - ${#TMP}))")
start_rngd --epoch "$PAGE"
grep -q 'no control socket: beside .* would be too long' "$RNGD_LOG" || fail "no warning"
[ "$("$STIR" ask "$SOCK" look)" = "0 1" ] || fail "no LOOK without a control socket"
[ "$("$STIR" ask "$SOCK" bump 32)" = "8 1" ] || fail "a BUMP without a control socket"
stop_rngd
SOCK=$usual
start_rngd --control "$TMP/elsewhere" --control-mode 0640
[ "$(stat -c '%a %F' "$TMP/elsewhere")" = '640 socket' ] || fail "$(stat "$TMP/elsewhere")"
[ "$("$STIR" ask "$TMP/elsewhere" reseed)" = "0 1" ] || fail "no RESEED at --control"
stop_rngd
start_rngd

# Four bytes. Reseeds of every kind are no news; clones are.
mkfifo "$TMP/go"
"$BUILD/tests/page_reader" word "$PAGE" <"$TMP/go" >"$TMP/seen" &
reader=$!
exec 7>"$TMP/go"
ready() {
	grep -q ready "$TMP/seen"
}
wait_for 10 ready || fail "the reader does not start"
for _ in 1 2 3; do
	[ "$("$STIR" ask "$SOCK.control" reseed)" = "0 1" ] || fail "RESEED"
done
kill -HUP "$RNGD_PID"
[ "$(id -u)" -ne 0 ] || "$STIR" kernel || fail "the kernel does not reseed"
"$STIR" ask "$SOCK" look >/dev/null
exec 7>&-
wait "$reader" || fail "the reader ended"
grep -qx 'changes 0' "$TMP/seen" || fail "a program with four bytes saw $(cat "$TMP/seen")"

"$BUILD/tests/page_reader" word "$PAGE" <"$TMP/go" >"$TMP/seen" &
reader=$!
exec 7>"$TMP/go"
wait_for 10 ready || fail "the reader does not start"
for generation in 2 3; do
	[ "$("$STIR" ask "$SOCK.control" bump 32)" = "0 $generation" ] || fail "BUMP to $generation"
done
exec 7>&-
wait "$reader" || fail "the reader ended"
grep -q 'changes [12]$' "$TMP/seen" || fail "a program with four bytes saw $(cat "$TMP/seen") of two clones"
stop_rngd
note "lease renewed twice in $took_ms ms"

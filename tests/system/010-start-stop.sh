#!/bin/bash
# How rngd starts, refuses to start, and stops: exit codes, messages, and what it leaves behind.
set -u
. "$(dirname "$0")/lib.sh"

# ends STATUS SAYING COMMAND... - the command ends within 10 s, with the status and the words.
ends() {
	local want=$1 saying=$2 status
	shift 2
	timeout 10 "$@" >"$TMP/out" 2>"$TMP/err"
	status=$?
	[ "$status" -eq "$want" ] || fail "status $status instead of $want: $* ($(cat "$TMP/err"))"
	grep -qe "$saying" "$TMP/out" "$TMP/err" || fail "'$saying' is not said: $* ($(cat "$TMP/err"))"
}

# nothing_at PATH - neither a socket nor a lock was made.
nothing_at() {
	[ ! -e "$1" ] && [ ! -e "$1.lock" ] || fail "something was made at $1"
}

# ended - the daemon is gone; its status is in $status.
ended() {
	local pid=$RNGD_PID
	RNGD_PID=
	wait "$pid"
	status=$?
}

# Options. Nothing may come of a wrong one.
for options in --nonsense 'extra' '--socket' '--socket=' '--socket-mode=9' '--socket-mode=01000' \
	'--socket-mode=' '--reseed-interval=0' '--reseed-interval=61' '--reseed-interval=1x' \
	'--reseed-interval=-1' '--user=' '--help=1' '-x'; do
	ends 2 '^rngd: ' "$RNGD" "--socket=$SOCK" "$options"
	[ "$(wc -l <"$TMP/err")" -eq 1 ] || fail "not one line about $options"
	nothing_at "$SOCK"
done
for option in --help -h; do
	ends 0 '^Usage: rngd' "$RNGD" "--socket=$SOCK" "$option"
	[ ! -s "$TMP/err" ] || fail "$option writes to stderr"
done
for option in --version -V; do
	ends 0 '^rngd [0-9]' "$RNGD" "--socket=$SOCK" "$option"
done
nothing_at "$SOCK"
[ -w /dev/full ] && "$RNGD" --help >/dev/full 2>/dev/null && fail "a help text lost is success"

# The longest path there is, and one longer.
long=$TMP/$(printf '%0108d' 0 | cut -c "1-$((106 - ${#TMP}))")
ends 2 'path of 1 to 107 bytes' "$RNGD" --socket "${long}x"
nothing_at "${long}x"
SOCK=$long
start_rngd
stop_rngd
SOCK=$TMP/rngd.sock

# Serves, and stops on either signal.
for signal in TERM INT; do
	start_rngd
	[ "$("$RNGCLI" --socket "$SOCK" 1000 | wc -c)" -eq 1000 ] || fail "no 1000 bytes"
	kill -s "$signal" "$RNGD_PID"
	ended
	[ "$status" -eq 0 ] || fail "SIG$signal: status $status"
	answers && fail "SIG$signal: still answers"
done
grep -q 'stopping' "$RNGD_LOG" || fail "it does not say that it stops"

# One daemon for a socket, whether or not its lock file was taken away.
start_rngd
ends 1 'another rngd serves' "$RNGD" --socket "$SOCK"
answers || fail "the first daemon was disturbed by a second"
rm "$SOCK.lock"
ends 1 'a live socket' "$RNGD" --socket "$SOCK"
answers || fail "the first daemon was disturbed by a third"

# Killed: the socket file stays, and the next one takes its place.
{ kill -KILL "$RNGD_PID" && ended; } 2>/dev/null
[ -S "$SOCK" ] || fail "no stale socket to try with"
start_rngd

# SIGHUP reseeds, and is no reason to stop.
count=$(status_value reseed.count)
kill -HUP "$RNGD_PID"
reseeded() {
	[ "$(status_value reseed.count)" -gt "$count" ]
}
wait_for 5 reseeded || fail "SIGHUP does not reseed"
case $(status_value reseed.last_reason) in
request | kernel) ;; # the kernel reseeds once a minute, perhaps just now
*) fail "reason: $(status_value reseed.last_reason)" ;;
esac
answers || fail "no answer after SIGHUP"

# A stop while a client takes all it can: soon, with status 0; the client is told.
"$RNGCLI" --socket "$SOCK" --timeout 1 1T >/dev/null 2>"$TMP/err" &
client=$!
busy() {
	[ "$(status_value served.bytes)" -gt 1000000 ]
}
wait_for 5 busy || fail "a large request is not served"
begin_ms=$(now_ms)
kill -TERM "$RNGD_PID"
ended
[ "$status" -eq 0 ] || fail "stopped while busy: status $status"
[ $(($(now_ms) - begin_ms)) -lt 5000 ] || fail "stopping took more than 5 s"
wait "$client" && fail "the client was not told that its bytes did not come"

# What is not a stale socket is left as it was.
rm -f "$SOCK"
echo precious >"$SOCK"
ends 1 'is not a socket' "$RNGD" --socket "$SOCK"
[ "$(cat "$SOCK")" = precious ] || fail "a regular file was changed"
rm "$SOCK"
mkdir "$SOCK"
ends 1 'is not a socket' "$RNGD" --socket "$SOCK"
rmdir "$SOCK"
ln -s "$TMP/elsewhere" "$SOCK"
ends 1 'is not a socket' "$RNGD" --socket "$SOCK"
[ ! -e "$TMP/elsewhere" ] || fail "a link was followed"
rm "$SOCK"
ends 1 'cannot open' "$RNGD" --socket "$TMP/none/rngd.sock"

# A wrong known answer: not one byte. ('make variants' builds it; not for the sanitizers.)
if [ -x "$BUILD/badvector/rngd" ]; then
	ends 1 'self-test' "$BUILD/badvector/rngd" --socket "$SOCK"
	grep -q serves "$TMP/err" && fail "came up in spite of a failed self-test"
else
	echo "no build with a wrong known answer"
fi

# Without memory that can be locked there is no place for a key. (ASan's mlock() does nothing.)
if [ "$SAN" != address ] && [ "$SAN" != thread ]; then
	unprivileged=()
	[ "$(id -u)" -ne 0 ] || unprivileged=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	mkdir -m 777 "$TMP/open"
	(ulimit -l 0 && ends 1 'raise the limit on locked memory' "${unprivileged[@]}" "$RNGD" \
		--socket "$TMP/open/rngd.sock") || exit 1
fi

[ "$(id -u)" -eq 0 ] || {
	note "not root: users are not tried"
	exit 0
}

# As root, without an account of its own: a warning, and uid 65534.
: >"$RNGD_LOG"
start_rngd --user no-such-user
grep -q 'no user no-such-user: running as uid 65534' "$RNGD_LOG" || fail "no warning"
[ "$(status_value sandbox.uid)" = 65534 ] || fail "sandbox.uid is $(status_value sandbox.uid)"
stop_rngd
ends 1 'is root' "$RNGD" --socket "$SOCK" --user root
ends 1 'is root' "$RNGD" --socket "$SOCK" --user 0
start_rngd --user 12345
ids=$(awk '/^(Uid|Gid|Groups):/ { $1 = ""; print }' "/proc/$RNGD_PID/status" | xargs)
[[ $ids =~ ^12345\ 12345\ 12345\ 12345\  ]] || fail "runs as $ids"
[ "$(awk '/^Cap/ { print $2 }' "/proc/$RNGD_PID/status" | sort -u)" = 0000000000000000 ] ||
	fail "capabilities are left"
stop_rngd

# Started by somebody unprivileged, in a directory of theirs.
mkdir "$TMP/theirs"
chown 65534:65534 "$TMP/theirs"
SOCK=$TMP/theirs/rngd.sock
RNGD_WRAP=(setpriv --reuid=65534 --regid=65534 --clear-groups)
start_rngd
[ "$(stat -c %u "$SOCK")" -eq 65534 ] || fail "the socket is not theirs"
[ "$(status_value sandbox.uid)" = 65534 ] || fail "sandbox.uid is $(status_value sandbox.uid)"
stop_rngd

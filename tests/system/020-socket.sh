#!/bin/bash
# The socket file and the lock beside it: access modes, and other users' tricks with the lock.
set -u
. "$(dirname "$0")/lib.sh"

# refuses SAYING - rngd ends with status 1 and these words; $TMP/err has all of them.
refuses() {
	timeout 10 "$RNGD" --socket "$SOCK" 2>"$TMP/err"
	[ $? -eq 1 ] || fail "started: $(cat "$TMP/err")"
	grep -q "$1" "$TMP/err" || fail "'$1' is not said: $(cat "$TMP/err")"
	[ ! -e "$SOCK" ] || fail "a socket was made"
}

mode() {
	stat -c %a "$1"
}

# The mode is the one asked for, whatever the umask, and the daemon's own umask is then 022.
for mask in 000 022 077 777; do
	umask "$mask"
	start_rngd
	umask 022
	[ "$(awk '/^Umask:/ { print $2 }' "/proc/$RNGD_PID/status")" = 0022 ] ||
		fail "the umask was left changed"
	[ "$(mode "$SOCK")" = 666 ] || fail "umask $mask: mode $(mode "$SOCK") instead of 666"
	[ "$((0$(mode "$SOCK.lock") & 077))" -eq 0 ] || fail "others may open the lock"
	stop_rngd
	rm -f "$SOCK" "$SOCK.lock"
done
for mode in 0600 660 0000 0777; do
	[ "$mode" = 0000 ] && [ "$(id -u)" -ne 0 ] && continue # nobody but root could ask it
	start_rngd --socket-mode "$mode"
	[ "$((0$(mode "$SOCK")))" -eq "$((0$mode))" ] || fail "mode $(mode "$SOCK") instead of $mode"
	stop_rngd
done

# The lock's file is ours, regular and no link, or it is not used.
rm -f "$SOCK" "$SOCK.lock"
echo precious >"$TMP/victim"
ln -s "$TMP/victim" "$SOCK.lock"
refuses 'cannot open'
ln -sf "$TMP/created" "$SOCK.lock"
refuses 'cannot open'
[ "$(cat "$TMP/victim")" = precious ] && [ ! -e "$TMP/created" ] || fail "the lock followed a link"
rm "$SOCK.lock"
mkfifo "$SOCK.lock"
refuses 'not a regular file of ours'
rm "$SOCK.lock"
mkdir "$SOCK.lock"
refuses 'cannot open'
rmdir "$SOCK.lock"

# Two at once: one serves, the other says why it does not.
"$RNGD" --socket "$SOCK" 2>"$TMP/a" &
a=$!
"$RNGD" --socket "$SOCK" 2>"$TMP/b" &
b=$!
wait_for 20 answers || fail "neither came up"
one_gone() {
	! kill -0 "$a" || ! kill -0 "$b"
}
wait_for 20 one_gone || fail "two daemons on one socket"
answers || fail "the loser disturbed the winner"
[ "$(cat "$TMP/a" "$TMP/b" | grep -c ' serves (')" -eq 1 ] || fail "not one of them serves"
grep -q 'another rngd serves' "$TMP/a" "$TMP/b" || fail "the loser does not say why"
kill -TERM "$a" "$b" 2>/dev/null
wait "$a" "$b" 2>/dev/null

[ "$(id -u)" -eq 0 ] || {
	note "not root: other users are not tried"
	exit 0
}

as_other() {
	setpriv --reuid=65533 --regid=65533 --clear-groups "$@"
}

# Who may connect.
start_rngd
as_other "$RNGCLI" --socket "$SOCK" 16 >/dev/null || fail "the default mode lets others in"
stop_rngd
start_rngd --socket-mode 0600
as_other "$RNGCLI" --socket "$SOCK" 16 >/dev/null 2>"$TMP/err" && fail "0600 lets others in"
grep -q 'no permission' "$TMP/err" || fail "rngcli says: $(cat "$TMP/err")"
stop_rngd

# Never, not even while it starts, may others connect to a socket with mode 0600: strace holds it up
# just after the socket is bound. (-D: the daemon, not strace, is our child.)
if strace -D -o /dev/null true 2>/dev/null; then
	rm -f "$SOCK"
	(
		umask 000
		exec strace -D -e trace=bind -e inject=bind:delay_exit=300000 -o /dev/null \
			"$RNGD" --socket "$SOCK" --socket-mode 0600 2>>"$RNGD_LOG"
	) &
	RNGD_PID=$!
	wait_for 10 test -S "$SOCK" || fail "no socket"
	[ "$(mode "$SOCK")" = 600 ] || fail "just bound, the mode is $(mode "$SOCK")"
	as_other "$RNGCLI" --socket "$SOCK" 16 >/dev/null 2>"$TMP/err" && fail "others came in early"
	grep -q 'no permission' "$TMP/err" || fail "early, rngcli says: $(cat "$TMP/err")"
	wait_for 20 answers || fail "did not come up under strace"
	stop_rngd
fi

# In a directory where all may write, somebody else's lock file is not used.
mkdir -m 1777 "$TMP/open"
SOCK=$TMP/open/rngd.sock
as_other sh -c ": >'$SOCK.lock'; chmod 666 '$SOCK.lock'"
refuses 'lock'
rm "$SOCK.lock"
start_rngd
stop_rngd

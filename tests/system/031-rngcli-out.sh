#!/bin/bash
# rngcli --out: the file is replaced as a whole or left as it was, and nothing else stays behind.
set -u
. "$(dirname "$0")/lib.sh"

start_rngd
cli() {
	"$RNGCLI" --socket "$SOCK" "$@"
}
mkdir "$TMP/out" && cd "$TMP/out" || exit 1
OLD="the old content"

reset() {
	rm -rf "$TMP/out/"* "$TMP/out/".rngcli-*
	echo "$OLD" >file
	chmod 644 file
}

# unchanged WHAT - the old file is as it was and alone
unchanged() {
	[ "$(cat file)" = "$OLD" ] || fail "$1: the file changed"
	[ "$(stat -c %a file)" = 644 ] || fail "$1: the mode changed"
	[ "$(ls -A)" = file ] || fail "$1: left behind: $(ls -A)"
}

# New and existing files, in whatever umask; names with and without a directory.
for mask in 000 022 777; do
	reset
	(umask $mask && cli --out new 1000 && cli -o "$TMP/out/file" 33) || fail "umask $mask: status $?"
	[ "$(stat -c '%a %s' new)" = "600 1000" ] || fail "new file: $(stat -c '%a %s' new)"
	[ "$(stat -c '%a %s' file)" = "600 33" ] || fail "replaced file: $(stat -c '%a %s' file)"
	[ "$(echo *)" = "file new" ] && [ "$(ls -A | wc -l)" -eq 2 ] || fail "left behind: $(ls -A)"
done
cli --hex -o file 5 && [[ $(cat file) =~ ^[0-9a-f]{10}$ ]] || fail "--hex into a file"
[ "$(cli -o - 9 | wc -c)" -eq 9 ] || fail "-o - is not standard output"

# The disk is full (a file size limit says it as well).
reset
(ulimit -f 100 && cli -o file 1M 2>"$TMP/err")
[ $? -eq 1 ] || fail "full disk: not status 1"
grep -q '^rngcli: cannot write file: ' "$TMP/err" || fail "full disk: $(cat "$TMP/err")"
unchanged "full disk"

# No daemon; it would have been asked before the file is touched.
"$RNGCLI" -s "$TMP/nothing" -o file 2>/dev/null
[ $? -eq 75 ] || fail "no daemon: not status 75"
unchanged "no daemon"

# Written directly: a FIFO and devices.
mkfifo fifo
cli -o fifo 100000 &
[ "$(timeout 20 cat fifo | wc -c)" -eq 100000 ] || fail "FIFO: wrong length"
wait $! || fail "FIFO: status $?"
[ -p fifo ] || fail "the FIFO was replaced"
cli -o /dev/null || fail "/dev/null: status $?"
[ -c /dev/null ] || fail "/dev/null was replaced"
cli -o /dev/full 2>/dev/null
[ $? -eq 1 ] || fail "/dev/full: not status 1"
[ -c /dev/full ] || fail "/dev/full was replaced"
cli -o . 2>/dev/null
[ $? -eq 1 ] || fail "a directory: not status 1"

# Symbolic links are neither followed nor replaced.
reset
ln -s file link
ln -s nothing dangling
for name in link dangling; do
	cli -o $name 2>/dev/null
	[ $? -eq 1 ] || fail "$name: not status 1"
	[ -L $name ] || fail "$name was replaced"
done
[ "$(cat file)" = "$OLD" ] || fail "a link was followed"
[ ! -e nothing ] || fail "a dangling link was followed"

# A read-only file is left alone, as the shell's > would.
reset
chmod 444 file
as_mode_says=()
[ "$(id -u)" -eq 0 ] && as_mode_says=(setpriv --bounding-set=-dac_override --inh-caps=-dac_override)
"${as_mode_says[@]}" "$RNGCLI" -s "$SOCK" -o file 2>/dev/null
[ $? -eq 1 ] || fail "read-only file: not status 1"
chmod 644 file
unchanged "read-only file"

# Closed standard descriptors do not end up as the file.
reset
cli -o file 40 <&- >&- 2>&- || fail "closed descriptors: status $?"
[ "$(stat -c %s file)" -eq 40 ] || fail "closed descriptors: $(stat -c %s file) bytes"

unfinished() {
	compgen -G '.rngcli-*'
}

# A signal while the daemon does not answer: at once, and without a trace.
kill -STOP "$RNGD_PID"
for name in HUP INT QUIT TERM; do
	reset
	env --default-signal "$RNGCLI" -s "$SOCK" -t 60 -o file 2>/dev/null &
	wait_for 10 unfinished || fail "SIG$name: no unfinished file is seen"
	kill -$name $!
	wait $! 2>/dev/null
	[ $? -eq $((128 + $(kill -l $name))) ] || fail "SIG$name: status $?"
	unchanged "SIG$name"
done

# Unless it is ignored, as under nohup.
reset
(trap '' HUP && exec "$RNGCLI" -s "$SOCK" -t 60 -o file 77) &
wait_for 10 unfinished || fail "nohup: no unfinished file is seen"
kill -HUP $!
kill -CONT "$RNGD_PID"
wait $! || fail "nohup: status $?"
[ "$(stat -c %s file)" -eq 77 ] || fail "nohup: the file was not written"
stop_rngd

#!/bin/bash
# rngcli in front of a person: hexadecimal on a terminal, the progress bar, colours.
set -u
# The commands are for the shell in the terminal:
# shellcheck disable=SC2016
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || skip "no script(1) to make a terminal with"
script -qec true /dev/null </dev/null >/dev/null 2>&1 || skip "no pseudo-terminals here (/dev/pts)"

start_rngd
unset NO_COLOR
export TERM=xterm RNGCLI SOCK TMP

# on_terminal COMMAND - its output, standard error included, as the terminal got it
on_terminal() {
	script -qec "$1" /dev/null </dev/null >"$TMP/seen"
}

on_terminal '"$RNGCLI" -s "$SOCK" 4' || fail "on a terminal: status $?"
[[ $(cat "$TMP/seen") =~ ^[0-9a-f]{8}$'\r'$ ]] || fail "on a terminal: $(od -c "$TMP/seen")"
on_terminal '"$RNGCLI" -s "$SOCK" -o /dev/tty 4' || fail "-o /dev/tty: status $?"
[[ $(cat "$TMP/seen") =~ ^[0-9a-f]{8}$'\r'$ ]] || fail "-o /dev/tty: $(od -c "$TMP/seen")"
on_terminal 'stty -opost; "$RNGCLI" -s "$SOCK" --raw 1000' || fail "--raw: status $?"
[ "$(wc -c <"$TMP/seen")" -eq 1000 ] || fail "--raw: $(wc -c <"$TMP/seen") bytes"

# A reader that takes its time makes output long enough for a bar.
slow='"$RNGCLI" -s "$SOCK" 8M'
reader='{ head -c 1; sleep 1; cat; } >/dev/null'
on_terminal "$slow | $reader" || fail "progress: status $?"
grep -q ' of 8.0 MiB 100% \[=*\] .*/s in  0:00:0' "$TMP/seen" || fail "no bar: $(cat "$TMP/seen")"
[ "$(tail -c 1 "$TMP/seen")" = "" ] || fail "the bar does not end its line"
on_terminal "stty cols 45; $slow | $reader"
tr '\r' '\n' <"$TMP/seen" | grep -qE '.{45}' && fail "the bar is wider than its terminal"
grep -q '100%' "$TMP/seen" || fail "no bar on a narrow terminal"
on_terminal "$slow -o \"\$TMP/file\""
[ "$(stat -c %s "$TMP/file")" -eq 8388608 ] || fail "-o on a terminal"

# No bar where none belongs.
for quiet in --quiet -q --no-progress; do
	on_terminal "$slow $quiet | $reader"
	[ ! -s "$TMP/seen" ] || fail "$quiet: $(cat "$TMP/seen")"
done
on_terminal "$slow 2>\"\$TMP/err\" | $reader"
[ ! -s "$TMP/err" ] || fail "a bar in a file: $(cat "$TMP/err")"
[ ! -s "$TMP/seen" ] || fail "standard error is a file, yet: $(cat "$TMP/seen")"
on_terminal '"$RNGCLI" -s "$SOCK" 100 >/dev/null'
[ ! -s "$TMP/seen" ] || fail "a bar for 100 bytes: $(cat "$TMP/seen")"

# At most 5 bars a second, the last one apart.
size=2G
[ -n "$SAN" ] && size=256M
SECONDS=0
on_terminal "\"\$RNGCLI\" -s \"\$SOCK\" $size >/dev/null"
bars=$(tr -cd '%' <"$TMP/seen" | wc -c)
[ "$bars" -le $((5 * (SECONDS + 1) + 1)) ] || fail "$bars bars in $SECONDS s"

# An error after the bar has a line of its own.
on_terminal "$slow -o /dev/full"
grep -q '^rngcli: cannot write /dev/full' "$TMP/seen" || fail "error: $(cat "$TMP/seen")"

# Colours.
status='"$RNGCLI" -s "$SOCK" status'
on_terminal "$status" || fail "status: status $?"
grep -q $'\033\[32mserving\033\[0m' "$TMP/seen" || fail "no colour on a terminal"
for setting in NO_COLOR=1 TERM=dumb 'env -u TERM'; do
	on_terminal "$setting $status"
	grep -q serving "$TMP/seen" || fail "$setting: no status"
	grep -q $'\033' "$TMP/seen" && fail "$setting: colour"
done
on_terminal "NO_COLOR= $status"
grep -q $'\033' "$TMP/seen" || fail "an empty NO_COLOR took the colour away"
on_terminal "$status --json"
grep -q $'\033' "$TMP/seen" && fail "--json: colour"
stop_rngd

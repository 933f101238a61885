#!/bin/bash
# rngcli watch: a line, or a command, for each clone; what is acknowledged and what stays owed; and that no command
# can hold it up or be left behind by it.
set -u
. "$(dirname "$0")/lib.sh"

start_rngd --kmsg "$TMP/no-log"
cli() {
	timeout 60 "$RNGCLI" --socket "$SOCK" "$@"
}
bump() {
	generation=$(head -c 32 /dev/urandom | cli bump) || fail "bump: status $?"
}
settles() {
	cli settle -t 20 >/dev/null 2>"$TMP/settle" || fail "not settled: $(cat "$TMP/settle")"
}
owed() {
	cli settle -t 0.4 2>"$TMP/settle" >/dev/null
	[ $? -eq 75 ] && grep -q "waited for: .* pid $WATCH " "$TMP/settle" || fail "it is not owed: $(cat "$TMP/settle")"
}
lines() {
	[ "$(wc -l <"$TMP/$1")" -ge "$2" ]
}
said() { # PATTERN - by watch, on standard error
	wait_for 20 grep -qE "$1" "$TMP/err" || fail "watch did not say $1: $(cat "$TMP/err")"
}

# watch [OPTION...] - in the background, subscribed
watch() {
	local before
	before=$(status_value events.subscribers)
	: >"$TMP/out"
	: >"$TMP/err"
	# A script's background process ignores SIGINT, and then so does watch.
	env --default-signal=INT "$RNGCLI" --socket "$SOCK" watch "$@" >"$TMP/out" 2>"$TMP/err" &
	WATCH=$!
	wait_for 20 eval '[ "$(status_value events.subscribers)" -gt '"$before"' ]' || fail "it does not subscribe: $(cat "$TMP/err")"
}
# ended [STATUS] - by itself
ended() {
	local status
	wait_for 20 eval '! kill -0 '$WATCH || fail "watch does not end"
	wait $WATCH
	status=$?
	[ $status -eq "${1:-0}" ] || fail "watch: status $status, not ${1:-0}: $(cat "$TMP/err")"
}
stop() {
	kill -TERM $WATCH
	ended 143
}

# ---------------------------------------------------------------- lines
watch
for n in 1 2 3; do
	bump
	wait_for 20 lines out $n || fail "clone $n: no line"
	settles
done
time='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z'
[[ $(tail -n 1 "$TMP/out") =~ ^$time\ $generation\ host\ ([0-9a-f]{32})$ ]] || fail "the line is '$(tail -n 1 "$TMP/out")'"
[ "$(cut -d ' ' -f 4 "$TMP/out" | sort -u | wc -l)" -eq 3 ] || fail "two events have one id"
[ "$("$RNGCLI" epoch --socket "$SOCK" 2>/dev/null | sed -n 's/^event *//p')" = "${BASH_REMATCH[1]}" ] || fail "the page has another id"
stop
[ ! -s "$TMP/err" ] || fail "watch said $(cat "$TMP/err")"

watch --json --count 2
bump
wait_for 20 lines out 1 || fail "no object"
bump
ended
[ "$(grep -cE "^\{\"time\":\"$time\",\"generation\":[0-9]+,\"notifier\":\"host\",\"id\":\"[0-9a-f]{32}\"\}$" "$TMP/out")" -eq 2 ] ||
	fail "the objects are $(cat "$TMP/out")"
grep -q "\"generation\":$generation," "$TMP/out" || fail "no generation $generation in $(cat "$TMP/out")"
settles

# A reader that leaves, and an output that is full.
"$RNGCLI" --socket "$SOCK" watch 2>"$TMP/err" | (sleep 0.2) # before any clone
[ "${PIPESTATUS[0]}" -eq 1 ] && [ ! -s "$TMP/err" ] || fail "a reader that left: $(cat "$TMP/err")"
watch
stop
"$RNGCLI" --socket "$SOCK" watch >/dev/full 2>"$TMP/err" &
WATCH=$!
wait_for 20 eval '[ "$(status_value events.subscribers)" -eq 1 ]' || fail "it does not subscribe"
bump
ended 1
grep -q 'cannot write standard output' "$TMP/err" || fail "/dev/full: $(cat "$TMP/err")"

# Over a restart of the daemon, a clone in between and one after.
watch
stop_rngd
start_rngd --kmsg "$TMP/no-log"
bump
wait_for 20 grep -q " $generation host " "$TMP/out" || fail "the restart lost generation $generation: $(cat "$TMP/out" "$TMP/err")"
settles
kill -KILL "$RNGD_PID"
wait "$RNGD_PID" 2>/dev/null
start_rngd --kmsg "$TMP/no-log"
bump
wait_for 20 grep -q " $generation host " "$TMP/out" || fail "the crash lost generation $generation: $(cat "$TMP/out" "$TMP/err")"
settles
stop

# ---------------------------------------------------------------- a command
export PLACE=$TMP/place
mkdir "$PLACE"
chmod 777 "$PLACE"
# What it is given; a descriptor or a signal more would be one of watch's own.
cat >"$PLACE/given" <<'GIVEN'
env | grep '^RNGD_' | sort >"$PLACE/env"
ls -l /proc/self/fd >"$PLACE/fds"
grep -E '^Sig(Blk|Ign)' /proc/self/status >"$PLACE/signals"
cat >"$PLACE/stdin"
echo out
echo err >&2
GIVEN
watch --exec '. "$PLACE/given"'
bump
settles
[ "$(cat "$TMP/out")" = out ] || fail "the command's output: $(cat "$TMP/out")"
[ "$(cat "$TMP/err")" = err ] || fail "the command's errors: $(cat "$TMP/err")"
[ ! -s "$PLACE/stdin" ] || fail "its standard input held $(cat "$PLACE/stdin")"
grep -qx "RNGD_EVENT_GENERATION=$generation" "$PLACE/env" && grep -qx 'RNGD_EVENT_NOTIFIER=host' "$PLACE/env" &&
	grep -qE "^RNGD_EVENT_TIME=$time$" "$PLACE/env" && grep -qE '^RNGD_EVENT_ID=[0-9a-f]{32}$' "$PLACE/env" ||
	fail "its environment: $(cat "$PLACE/env")"
! grep -E 'socket:|anon_inode|epoch' "$PLACE/fds" || fail "a descriptor leaked"
# The C library has two for itself, which posix_spawn(3) leaves ignored.
[ "$(grep -cE '\s0{7}[01][08]0{7}$' "$PLACE/signals")" -eq 2 ] || fail "its signals: $(cat "$PLACE/signals")"
stop

# One that fails, in three ways, and then does not.
watch --exec 'n=$(cat "$PLACE/n"); case $n in x) kill -KILL $$;; *) exit $n;; esac'
echo 3 >"$PLACE/n"
bump
said "generation $generation ended with status 3.*owed"
owed
echo x >"$PLACE/n"
bump
said "generation $generation was ended by signal 9.*owed"
echo 127 >"$PLACE/n"
bump
said "generation $generation ended with status 127"
owed
echo 0 >"$PLACE/n"
bump
settles
stop

# One that hangs, deaf to SIGTERM, with a child that is deaf as well.
watch --exec-timeout 0.3 --exec 'trap "" TERM; (while :; do sleep 1; done) & echo $! >"$PLACE/child"; while :; do sleep 1; done'
bump
said "generation $generation was ended after 0.300 s"
owed
wait_for 10 eval '! kill -0 "$(cat "$PLACE/child")"' || fail "the child of a command that was killed lives"
wait_for 10 eval '[ -z "$(pgrep -P '$WATCH')" ]' || fail "a zombie is left"
stop

# One that heeds SIGTERM, and a child of it that does not.
watch --exec-timeout 0.3 --exec '(trap "" TERM; while :; do sleep 1; done) & echo $! >"$PLACE/child"; while :; do sleep 1; done'
bump
said "generation $generation was ended after 0.300 s"
wait_for 10 eval '! kill -0 "$(cat "$PLACE/child")"' || fail "a deaf child of a command that was ended lives"
stop

# One that leaves a child behind, which holds the output open: not waited for, not killed.
watch --exec 'sleep 300 & echo $! >"$PLACE/child"'
bump
settles
kill -0 "$(cat "$PLACE/child")" || fail "the child in the background is gone"
bump
settles
[ -z "$(pgrep -P $WATCH)" ] || fail "watch has children: $(pgrep -aP $WATCH)"
stop
for pid in $(pgrep -f '^sleep 300$'); do
	grep -qz "^PLACE=$PLACE$" "/proc/$pid/environ" 2>/dev/null && kill -KILL "$pid"
done

# One that floods an output that nobody reads: it stands, watch does not, and can be ended.
mkfifo "$TMP/flood"
"$RNGCLI" --socket "$SOCK" watch --exec 'yes; yes' >"$TMP/flood" 2>"$TMP/err" &
WATCH=$!
exec 4<"$TMP/flood"
wait_for 20 eval '[ "$(status_value events.subscribers)" -eq 1 ]' || fail "it does not subscribe"
bump
wait_for 20 eval '[ -n "$(pgrep -P '$WATCH')" ]' || fail "the command is not run"
owed
stop
[ -z "$(pgrep -P $WATCH)" ] || fail "the command goes on"
exec 4<&-

# Clones that come while it runs: the last one alone is run for.
rm -f "$PLACE/go"
watch --count 2 --exec 'echo $RNGD_EVENT_GENERATION; while [ ! -e "$PLACE/go" ]; do sleep 0.05; done'
bump
first=$generation
wait_for 20 lines out 1 || fail "the command does not run"
bump
bump
bump
owed
touch "$PLACE/go"
ended
[ "$(cat "$TMP/out")" = "$first"$'\n'"$generation" ] || fail "it was run for: $(cat "$TMP/out")"
settles

# The daemon is started anew while it runs: once is enough.
rm -f "$PLACE/go"
watch --exec 'echo $RNGD_EVENT_GENERATION; while [ ! -e "$PLACE/go" ]; do sleep 0.05; done'
bump
wait_for 20 lines out 1 || fail "the command does not run"
stop_rngd
start_rngd --kmsg "$TMP/no-log"
wait_for 20 eval '[ "$(status_value events.subscribers)" -eq 1 ]' || fail "it did not come back"
owed
touch "$PLACE/go"
settles
[ "$(cat "$TMP/out")" = "$generation" ] || fail "it was run for: $(cat "$TMP/out")"
bump
settles
[ "$(tail -n 1 "$TMP/out")" = "$generation" ] || fail "it was run for: $(cat "$TMP/out")"
stop

# A signal while it runs goes on to the command, which is waited for.
for signal in TERM INT HUP; do
	rm -f "$PLACE/got"
	watch --exec 'trap "echo yes >$PLACE/got; exit 0" TERM; echo running; while :; do sleep 0.05; done'
	bump
	wait_for 20 lines out 1 || fail "the command does not run"
	kill -$signal $WATCH
	wait_for 20 eval '! kill -0 '$WATCH || fail "SIG$signal does not end it"
	wait $WATCH
	status=$?
	[ $status -eq $((128 + $(kill -l $signal))) ] || fail "SIG$signal: status $status"
	[ "$(cat "$PLACE/got")" = yes ] || fail "SIG$signal did not reach the command"
	grep -q 'told to end' "$TMP/err" || fail "SIG$signal: $(cat "$TMP/err")"
done

# --count, and a last command that failed.
watch --count 1 --exec 'exit 5'
bump
ended 1
said "generation $generation ended with status 5: nothing runs it again"
settles

# ---------------------------------------------------------------- what is refused
expect() {
	local want=$1 word=$2 got
	shift 2
	timeout 20 "$RNGCLI" --socket "$SOCK" "$@" >"$TMP/stdout" 2>"$TMP/errors" </dev/null
	got=$?
	[ $got -eq "$want" ] || fail "rngcli $*: status $got, not $want: $(cat "$TMP/errors")"
	[ ! -s "$TMP/stdout" ] || fail "rngcli $*: wrote $(cat "$TMP/stdout")"
	[ "$(wc -l <"$TMP/errors")" -eq 1 ] && grep -q '^rngcli: ' "$TMP/errors" || fail "rngcli $*: $(cat "$TMP/errors")"
	grep -qe "$word" "$TMP/errors" || fail "rngcli $*: no '$word' in: $(cat "$TMP/errors")"
}
expect 2 'needs a command' watch --exec ''
expect 2 'needs a value' watch --exec
expect 2 'prints nothing' watch --exec true --json
expect 2 'needs --exec' watch --exec-timeout 5
expect 2 'not a time' watch --exec true --exec-timeout x
expect 2 'number of events' watch --count 0
expect 2 'number of events' watch --count -1
expect 2 'one argument too many' watch true
expect 2 'not an option of status' status --exec true
stop_rngd
expect 75 'no rngd' watch

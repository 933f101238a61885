#!/bin/bash
# doc/examples: each program and script does what it says, against a daemon of its own.
set -u
. "$(dirname "$0")/lib.sh"
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip "/dev/shm is no tmpfs to publish a page on"

EXAMPLES=$ROOT/doc/examples
PAGE=$SOCK.epoch
export CONTROL=$SOCK.control RNGCLI

bump() {
	head -c 32 /dev/urandom | "$RNGCLI" --socket "$SOCK" bump || fail "bump: status $?"
}

# settled GENERATION - everybody has acted on it.
settled() {
	"$RNGCLI" --socket "$SOCK" settle --after $(($1 - 1)) --timeout 30 >"$TMP/settled" 2>&1 ||
		fail "generation $1 does not settle: status $?: $(cat "$TMP/settled")"
}

# example NAME [ARG...] - starts it with its output in $TMP/NAME.out and .err; EXAMPLE_PID.
example() {
	local name=$1
	shift
	: >"$TMP/$name.out" # here, not in the child: it is read at once
	: >"$TMP/$name.err"
	"$BUILD/examples/$name" "$@" >>"$TMP/$name.out" 2>>"$TMP/$name.err" &
	EXAMPLE_PID=$!
}

# says NAME PATTERN - it wrote such a line; within 20 s.
says() {
	wait_for 20 grep -qe "$2" "$TMP/$1.out" "$TMP/$1.err" ||
		fail "$1 does not say '$2': $(cat "$TMP/$1.out" "$TMP/$1.err")"
}

gone() {
	! kill -0 "$1" 2>/dev/null
}

# ends PID STATUS NAME - within 20 s.
ends() {
	local status
	wait_for 20 gone "$1" || fail "$3 does not end"
	wait "$1"
	status=$?
	[ $status -eq "$2" ] || fail "$3 ended with status $status, not $2: $(cat "$TMP/$3.err")"
}

# refuses STATUS COMMAND... - that status within 20 s, something on standard error, nothing on output.
refuses() {
	local want=$1 got
	shift
	timeout 20 "$@" >"$TMP/refuses.out" 2>"$TMP/refuses.err" </dev/null
	got=$?
	[ $got -eq "$want" ] || fail "$*: status $got, not $want"
	[ ! -s "$TMP/refuses.out" ] && [ -s "$TMP/refuses.err" ] || fail "$*: $(cat "$TMP/refuses.out")"
}

lines() {
	wc -l <"$1"
}

# ---------------------------------------------------------------- without a daemon
for name in poll_loop libev_watch session_keys; do
	refuses 1 "$BUILD/examples/$name" "$SOCK"
done
refuses 1 "$BUILD/examples/uuid_maker" 1 "$SOCK"
for args in '' x -1 1x '1 a 0' '1 a 257' '1 a 1 b' 99999999999999999999; do
	# shellcheck disable=SC2086 # several words
	refuses 2 "$BUILD/examples/uuid_maker" $args
done
refuses 1 "$BUILD/examples/page_only" "$TMP/nothing"
: >"$TMP/empty"
refuses 1 "$BUILD/examples/page_only" "$TMP/empty"

# Of clones it hears from this test alone, whatever others write to the kernel's log meanwhile.
start_daemon() {
	start_rngd --kmsg "$TMP/no-log" "$@"
}
start_daemon

# ---------------------------------------------------------------- page_only
example page_only "$PAGE"
says page_only '^epoch 0x'
kill -0 "$EXAMPLE_PID" || fail "page_only ended before there was a clone"
generation=$(bump)
ends "$EXAMPLE_PID" 0 page_only
says page_only '^cloned: epoch 0x'
[ "$(grep -o '0x[0-9a-f]\{8\}$' "$TMP/page_only.out" | sort -u | wc -l)" -eq 2 ] ||
	fail "page_only saw no change: $(cat "$TMP/page_only.out")"

# ---------------------------------------------------------------- poll_loop, libev_watch
example poll_loop "$SOCK"
poll_pid=$EXAMPLE_PID
example libev_watch "$SOCK"
libev_pid=$EXAMPLE_PID
says poll_loop '^waiting'
says libev_watch '^waiting'
for n in 1 2 3; do
	generation=$(bump)
	# It is there when they have acknowledged it: no wait but this one.
	settled "$generation"
	for name in poll_loop libev_watch; do
		[ "$(lines "$TMP/$name.out")" -eq $n ] || fail "$name: not $n lines: $(cat "$TMP/$name.out")"
		[ "$(tail -n 1 "$TMP/$name.out")" = "clone $generation noticed by host" ] ||
			fail "$name: $(cat "$TMP/$name.out")"
	done
done
# What they have not done is waited for; and many that come while one is stopped become one or two.
kill -STOP "$poll_pid"
for n in 1 2 3 4 5; do
	generation=$(bump)
done
"$RNGCLI" --socket "$SOCK" settle --timeout 0.3 >"$TMP/settled" 2>&1
[ $? -eq 75 ] || fail "settled without poll_loop: $(cat "$TMP/settled")"
grep -q "pid $poll_pid " "$TMP/settled" || fail "nobody says whom is waited for: $(cat "$TMP/settled")"
kill -CONT "$poll_pid"
settled "$generation"
[ "$(tail -n 1 "$TMP/poll_loop.out")" = "clone $generation noticed by host" ] || fail "poll_loop missed the last"
[ "$(lines "$TMP/poll_loop.out")" -le 5 ] || fail "poll_loop: $(cat "$TMP/poll_loop.out")"
[ -z "$(cut -d ' ' -f 2 "$TMP/poll_loop.out" | uniq -d)" ] || fail "an event came twice"
kill -TERM "$libev_pid"
ends "$libev_pid" 0 libev_watch

# ---------------------------------------------------------------- session_keys
mkfifo "$TMP/requests"
: >"$TMP/session_keys.out"
"$BUILD/examples/session_keys" "$SOCK" <"$TMP/requests" >"$TMP/session_keys.out" 2>"$TMP/session_keys.err" &
keys_pid=$!
exec 5>"$TMP/requests"
keys=$TMP/session_keys.out
says session_keys "^made: keys of epoch $generation\$"

answered() {
	[ "$(grep -c '^session ' "$keys")" -ge "$1" ]
}
# ask_all ALL - prints what is answered to one request in each session; ALL: how many answers there are then.
ask_all() {
	printf 0123456789 >&5
	wait_for 30 answered "$1" || fail "session_keys does not answer: $(cat "$keys" "$TMP/session_keys.err")"
	grep '^session ' "$keys" | tail -n 10
}
first=$(ask_all 10)
[ "$(grep -cE '^session [0-9] [0-9a-f]{16}$' <<<"$first")" -eq 10 ] || fail "answers: $first"
[ "$(cut -d ' ' -f 3 <<<"$first" | sort -u | wc -l)" -eq 10 ] || fail "sessions share a name: $first"
[ "$(ask_all 20)" = "$first" ] || fail "keys changed without a clone"
[ "$(grep -c '^made' "$keys")" -eq 1 ] || fail "keys were made anew without a clone"

# Nobody asks, and yet: dropped, made, acknowledged, in this order, once.
before=$(lines "$keys")
old=$generation
generation=$(bump)
settled "$generation"
says session_keys "^acknowledged $generation\$"
[ "$(tail -n +$((before + 1)) "$keys")" = "dropped: keys of epoch $old
made: keys of epoch $generation
acknowledged $generation" ] || fail "after a clone: $(tail -n +$((before + 1)) "$keys")"
second=$(ask_all 30)
[ -z "$(cut -d ' ' -f 3 <<<"$first"$'\n'"$second" | sort | uniq -d)" ] || fail "a name outlived a clone"

# A request that is there with the event: never the old keys.
kill -STOP "$keys_pid"
generation=$(bump)
printf 0 >&5
kill -CONT "$keys_pid"
third=$(ask_all 41)
[ -z "$(cut -d ' ' -f 3 <<<"$second"$'\n'"$third" | sort | uniq -d)" ] || fail "a name outlived a clone"
answer=$(grep '^session 0' "$keys" | tail -n 2 | head -n 1)
grep -qF "${answer#* * }" <<<"$second" && fail "a request beside the event was answered with old keys"
settled "$generation"

# Nobody watches: no answer is given with the keys there are. Then somebody does, and it is told again.
stop_rngd
printf 0 >&5
says session_keys '^session 0 refused$'
start_daemon 5>&- # which would keep the requests from ending
settled "$("$RNGCLI" --socket "$SOCK" look)"
generation=$(bump)
settled "$generation"
says session_keys "^acknowledged $generation\$"
[ "$(tail -n 1 "$TMP/poll_loop.out")" = "clone $generation noticed by host" ] ||
	fail "poll_loop did not find the new daemon: $(cat "$TMP/poll_loop.out" "$TMP/poll_loop.err")"

# ---------------------------------------------------------------- the guest's half of a restore
export SETTLE_S=20
after_restore() {
	sh "$EXAMPLES/guest-after-restore.sh" "$@"
}
look() {
	"$RNGCLI" --socket "$SOCK" look
}
gate=$TMP/gate
# What the gate finds when it is opened: were the keys made anew?
opens="cp $keys $gate"

refuses 2 sh "$EXAMPLES/guest-after-restore.sh"
refuses 2 sh "$EXAMPLES/guest-after-restore.sh" touch "$gate" # no bytes
head -c 31 /dev/urandom | after_restore touch "$gate" >"$TMP/out" 2>&1
[ $? -eq 2 ] || fail "31 bytes: $(cat "$TMP/out")"
# A channel that neither gives bytes nor ends.
mkfifo "$TMP/silent"
exec 6<>"$TMP/silent"
BYTES_S=0.3 timeout 20 sh "$EXAMPLES/guest-after-restore.sh" touch "$gate" <&6 >"$TMP/out" 2>&1
[ $? -eq 2 ] || fail "a silent host: $(cat "$TMP/out")"
# One that gives them, but does not end.
head -c 64 /dev/urandom >&6
[ "$(look)" = "$generation" ] || fail "what was refused moved the generation"
# shellcheck disable=SC2086 # several words
[ "$(after_restore $opens <&6)" = "settled $((generation + 1))" ] || fail "after a restore: no 'settled'"
generation=$((generation + 1))
grep -qx "made: keys of epoch $generation" "$gate" || fail "the gate was opened over old keys"
rm "$gate"

head -c 64 /dev/urandom | after_restore false >"$TMP/out" 2>"$TMP/err"
[ $? -eq 1 ] || fail "a gate that does not open: $(cat "$TMP/err")"
[ ! -s "$TMP/out" ] || fail "a gate that does not open, and it says $(cat "$TMP/out")"
head -c 64 /dev/urandom | RNGCLI=$TMP/nothing after_restore touch "$gate" >"$TMP/out" 2>&1
[ $? -eq 1 ] || fail "without rngcli: $(cat "$TMP/out")"
head -c 64 /dev/urandom | CONTROL=$TMP/nothing SETTLE_S=1 after_restore touch "$gate" >"$TMP/out" 2>&1
[ $? -eq 75 ] || fail "without rngd: $(cat "$TMP/out")"
# Somebody who does not act keeps it shut.
kill -STOP "$poll_pid"
head -c 64 /dev/urandom | SETTLE_S=0.5 after_restore touch "$gate" >"$TMP/out" 2>"$TMP/err"
[ $? -eq 75 ] || fail "not settled: $(cat "$TMP/err")"
[ ! -e "$gate" ] && [ ! -s "$TMP/out" ] || fail "a gate was opened that had to stay shut"
kill -CONT "$poll_pid"

# ---------------------------------------------------------------- the host's halves
# The programs that they use are played here, and write down what is done in which order.
done_log=$TMP/done
mkdir "$TMP/bin"
cat >"$TMP/bin/socat" <<'END'
#!/bin/bash
case ${!#} in
*/monitor.sock)
	read -r command
	echo "$command" >>"$DONE"
	printf 'QEMU 10.0.2 monitor\r\n(qemu) %s\r\n' "$command"
	[ "$command" = "${COMPLAINS:-}" ] && printf 'Error: no\r\n'
	[ "$command" = "${HANGS_UP:-}" ] || printf '(qemu) \n'
	;;
*/agent.sock,shut-none)
	read -r question
	case $question in
	*'"guest-exec"'*)
		command=$(sed 's/.*"arg":\["-c","\([^"]*\)"\].*/\1/' <<<"$question")
		sed 's/.*"input-data":"\([^"]*\)".*/\1/' <<<"$question" | base64 -d | sh -c "$command" >&2
		echo $? >"$DONE.status"
		echo '{"return": {"pid": 77}}'
		;;
	*'"guest-exec-status","arguments":{"pid":77}'*)
		echo "{\"return\": {\"exitcode\": $(cat "$DONE.status"), \"exited\": true}}"
		;;
	esac
	;;
*/vsock.sock)
	[ "$1" = -,ignoreeof ] || exit 1
	read -r question
	[ "$question" = 'CONNECT 52' ] || exit 1
	echo 'OK 1073741824'
	sh -c "$GUEST_HALF"
	;;
esac
END
cat >"$TMP/bin/ssh" <<'END'
#!/bin/bash
[ "${*: -2:1}" = root@192.0.2.2 ] || exit 255
sh -c "${!#}"
END
for name in curl ip; do
	printf '#!/bin/bash\necho "%s ${*: -3}" >>"$DONE"\n' $name >"$TMP/bin/$name"
done
chmod 755 "$TMP/bin/"*
export DONE=$done_log MONITOR=$TMP/monitor.sock VSOCK=$TMP/vsock.sock API=$TMP/api.sock
export GUEST_HALF="sh $EXAMPLES/guest-after-restore.sh sh -c 'echo gate >>$done_log'"

# restore WANT STATUS SCRIPT ARG... - that is what was done, in that order.
restore() {
	local want=$1 status=$2 got
	shift 2
	: >"$done_log"
	PATH=$TMP/bin:$PATH timeout 100 sh "$EXAMPLES/$1" "${@:2}" >"$TMP/out" 2>"$TMP/err"
	got=$?
	[ $got -eq "$status" ] || fail "$*: status $got: $(cat "$TMP/err")"
	[ "$(cat "$done_log")" = "$want" ] || fail "$*: did: $(cat "$done_log") $(cat "$TMP/err")"
}
loaded='stop
loadvm base
set_link net0 off
cont'
booted="ip set tap0 down
curl -d {\"snapshot_path\":\"state\",\"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"memory\"},\
\"resume_vm\":false} http://localhost/snapshot/load
curl -d {\"state\":\"Resumed\"} http://localhost/vm"
qemu_all="$loaded
gate
set_link net0 on"
fire_all="$booted
gate
ip set tap0 up"
restore "$qemu_all" 0 restore-qemu.sh base
AGENT=$TMP/agent.sock restore "$qemu_all" 0 restore-qemu.sh base
LOADED=1 restore "${qemu_all/loadvm base$'\n'/}" 0 restore-qemu.sh base
restore "$fire_all" 0 restore-firecracker.sh state memory

# Whatever goes wrong, the network stays out.
COMPLAINS='loadvm base' restore "${loaded%$'\n'set*}" 1 restore-qemu.sh base
HANGS_UP='set_link net0 off' restore "${loaded%$'\n'cont}" 1 restore-qemu.sh base
kill -STOP "$poll_pid"
export SETTLE_S=0.5 TRIES=2
restore "$loaded" 1 restore-qemu.sh base
grep -q 'net0 stays unplugged' "$TMP/err" || fail "$(cat "$TMP/err")"
AGENT=$TMP/agent.sock restore "$loaded" 1 restore-qemu.sh base
restore "$booted" 1 restore-firecracker.sh state memory
grep -q 'tap0 stays down' "$TMP/err" || fail "$(cat "$TMP/err")"
kill -CONT "$poll_pid"
settled "$(look)"
unset SETTLE_S TRIES
GUEST_HALF='exit 1' restore "$loaded" 1 restore-qemu.sh base
GUEST=nobody@nowhere TRIES=1 restore "$loaded" 1 restore-qemu.sh base

# A dry run says what would be done, and does nothing.
for script in "restore-qemu.sh base" "restore-firecracker.sh state memory"; do
	# shellcheck disable=SC2086 # several words
	DRY_RUN=1 restore '' 0 $script
	grep -q '/dev/urandom' "$TMP/out" || fail "a dry run of $script: $(cat "$TMP/out")"
done
for script in "$EXAMPLES"/*.sh; do
	sh -n "$script" && bash -n "$script" || fail "$script does not parse"
	[ -x "$script" ] || fail "$script is not executable"
done

# Its own end: nobody waits for session_keys.
exec 5>&-
ends "$keys_pid" 0 session_keys
kill -TERM "$poll_pid"
settled "$(bump)"

# ---------------------------------------------------------------- uuid_maker
V4='^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
for batch in 1 7 256; do
	"$BUILD/examples/uuid_maker" 1000 "$SOCK" $batch >"$TMP/uuids" || fail "uuid_maker: status $?"
	[ "$(grep -cE "$V4" "$TMP/uuids")" -eq 1000 ] && [ "$(lines "$TMP/uuids")" -eq 1000 ] ||
		fail "not 1000 UUIDs: $(grep -vE "$V4" "$TMP/uuids" | head -n 3)"
	[ -z "$(sort "$TMP/uuids" | uniq -d)" ] || fail "a UUID came twice"
done

# Without end, and with clones.
longer() {
	[ "$(lines "$TMP/uuid_maker.out")" -gt "$1" ]
}
example uuid_maker 0 "$SOCK"
for n in 1 2 3 4 5; do
	wait_for 20 longer "$(lines "$TMP/uuid_maker.out")" || fail "uuid_maker does not go on"
	generation=$(bump)
done
wait_for 20 longer "$(lines "$TMP/uuid_maker.out")" || fail "uuid_maker does not go on"
kill -TERM "$EXAMPLE_PID"
ends "$EXAMPLE_PID" 143 uuid_maker
used=$(lines "$TMP/uuid_maker.out")
[ "$(grep -cE "$V4" "$TMP/uuid_maker.out")" -eq "$used" ] || fail "what is printed is no UUID"
[ -z "$(sort "$TMP/uuid_maker.out" | uniq -d)" ] || fail "a UUID came twice"

# What is left of a batch is dropped. It prints into a pipe that is full, in its eighth batch: the first is
# good for one, then come 1 + 6 * 256 = 1537 to 1792. Those it still has to print would be there.
printed() {
	[ "$(($(sed -n 's/^wchar: //p' "/proc/$EXAMPLE_PID/io") / 37))" -ge "$1" ]
}
mkfifo "$TMP/uuids.pipe"
exec 7<>"$TMP/uuids.pipe"
"$BUILD/examples/uuid_maker" 1790 "$SOCK" 256 >"$TMP/uuids.pipe" 2>"$TMP/uuid_maker.err" 7>&- &
EXAMPLE_PID=$!
wait_for 30 printed 1700 || fail "uuid_maker does not fill a pipe"
served=$(status_value served.bytes)
generation=$(bump)
timeout 30 head -n 1790 <&7 >"$TMP/uuids" || fail "uuid_maker does not go on after a clone"
ends "$EXAMPLE_PID" 0 uuid_maker
[ "$(status_value served.bytes)" -ge $((served + 4096)) ] || fail "a batch outlived a clone"
[ "$(grep -cE "$V4" "$TMP/uuids")" -eq 1790 ] || fail "what is printed is no UUID"
[ -z "$(sort "$TMP/uuids" | uniq -d)" ] || fail "a UUID came twice"
exec 7>&-
stop_rngd

#!/bin/bash
# Every detector through the real daemon: what it sees is on the page within a second, without any
# client, with the right name; what is no clone moves no generation; what happened while no daemon ran
# is told once, and nothing is made up.
set -u
. "$(dirname "$0")/lib.sh"

STIR=$BUILD/tests/stir
PAGE=$SOCK.epoch
LIMIT_MS=1000
[ -z "$SAN" ] || LIMIT_MS=5000
slowest_ms=0

page() {
	"$BUILD/tests/page_reader" show "$PAGE" | sed -n "s/^$1=//p"
}

# moves FIELD OLD - waits until it is another; sets late when that takes too long, fails when far too long.
moves() {
	local begin end
	late=
	begin=$(now_ms)
	until [ "$(page "$1")" != "$2" ]; do
		[ $(($(now_ms) - begin)) -le $((LIMIT_MS * 5)) ] || fail "$1 does not move: $what"
	done
	end=$(now_ms)
	[ $((end - begin)) -le $slowest_ms ] || slowest_ms=$((end - begin))
	[ $((end - begin)) -le $LIMIT_MS ] || late="$1 took $((end - begin)) ms to move: $what"
}

# in_time COMMAND... - which has something move: not late in one of three times. The machine itself may stand.
in_time() {
	local try
	for try in 1 2 3; do
		"$@"
		[ -n "$late" ] || return 0
		note "$late"
	done
	fail "$late"
}

remember() {
	word=$(page word) generation=$(page generation) look_again=$(page look_again) id=$(page event_id)
}

# one_clone NOTIFIER - since remember(): one event, whole, by this one.
one_clone() {
	[ "$(page generation)" -eq $((generation + 1)) ] ||
		fail "$what: generation $generation to $(page generation)"
	[ "$(page word)" != "$word" ] || fail "$what: the word did not move"
	[ "$(page look_again)" -gt "$look_again" ] || fail "$what: look again did not move"
	[ "$(page agrees)" -eq 1 ] || fail "$what: the word does not agree with the generation"
	[ "$(page event_generation)" -eq $((generation + 1)) ] || fail "$what: no event"
	[ "$(page event_notifier)" -eq "$1" ] || fail "$what: noticed by $(page event_notifier)"
	[ "$(page word_notifier)" -eq "$1" ] || fail "$what: the word names $(page word_notifier)"
	[ "$(page event_age_ms)" -le 20000 ] || fail "$what: $(page event_age_ms) ms ago"
	[ "$(page event_id)" != "$id" ] || fail "$what: the id of another event"
	[ "$(page event_id)" != 00000000000000000000000000000000 ] || fail "$what: no id"
	[ "$(status_value generation)" -eq $((generation + 1)) ] || fail "$what: STATUS differs"
}

# no_clone - since remember(), and every detector was asked again.
no_clone() {
	[ "$("$STIR" ask "$SOCK" look)" = "0 $generation" ] || fail "$what: LOOK: a clone"
	[ "$(page generation)" -eq "$generation" ] || fail "$what: the generation moved"
	[ "$(page word)" = "$word" ] || fail "$what: the word moved"
	[ "$(page event_id)" = "$id" ] || fail "$what: an event"
}

# clone NUMBER DETECTOR COMMAND... - what the command does is seen as a clone by this detector.
clone() {
	in_time clone_once "$@"
}
clone_once() {
	local notifier=$1 detector=$2 times
	what="$2 sees ${*:3}"
	shift 2
	times=$(status_value "detector.$detector.cloned")
	remember
	"$@" >/dev/null || fail "cannot: $*"
	moves word "$word"
	one_clone "$notifier"
	[ "$(status_value "detector.$detector.cloned")" -eq $((times + 1)) ] ||
		fail "$what: counted $(status_value "detector.$detector.cloned"), $times before"
	# By now the kernel may have reseeded, or the daemon once more.
	case $(status_value epoch.mover) in
	"$detector" | kernel) ;;
	*) fail "$what: moved by $(status_value epoch.mover)" ;;
	esac
	case $(status_value reseed.last_reason) in
	"$detector" | kernel | follow) ;;
	*) fail "$what: reseeded for $(status_value reseed.last_reason)" ;;
	esac
}

# ages DETECTOR COMMAND... - what the command does ages the state, and is no clone.
ages() {
	in_time ages_once "$@"
}
ages_once() {
	local detector=$1 times
	what="$1 sees ${*:2}"
	shift
	times=$(status_value "detector.$detector.aged")
	remember
	"$@" >/dev/null || fail "cannot: $*"
	moves look_again "$look_again"
	no_clone
	[ "$(status_value "detector.$detector.aged")" -gt "$times" ] || fail "$what: not counted"
}

log_line() {
	printf '%s\n' "$1" >&8
}

# A generation ID, another epoch page, a vmclock page, and a kernel log of our own.
for file in vmgenid source; do
	head -c 4096 /dev/urandom >"$TMP/$file"
done
chmod 644 "$TMP/vmgenid" "$TMP/source"
"$STIR" vmclock "$TMP/vmclock" make || fail "no vmclock page"
mkfifo "$TMP/kmsg"
exec 8<>"$TMP/kmsg"
SIGNS=(--vmgenid "$TMP/vmgenid" --epoch-source "$TMP/source" --vmclock "$TMP/vmclock"
	--kmsg "$TMP/kmsg")
FORK='random: crng reseeded due to virtual machine fork'

start_rngd "${SIGNS[@]}"
for detector in vmgenid vmclock epoch_source kmsg clock; do
	[ "$(status_value "detector.$detector.state")" = active ] ||
		fail "$detector is $(status_value "detector.$detector.state"): $(status_value "detector.$detector.why")"
done
[ "$(page generation)" -eq 1 ] || fail "a page made anew has generation $(page generation)"
[ "$(page word_notifier)" -eq 0 ] || fail "a clone before the first"

# The kernel's log first: after a clone that another detector saw its line is old news for 5 s.
clone 2 kmsg log_line "6,100,5000000,-;$FORK"
clone 1 vmgenid "$STIR" add "$TMP/vmgenid" 0
clone 5 epoch_source "$STIR" add "$TMP/source" 0
clone 3 vmclock "$STIR" vmclock "$TMP/vmclock" clone
clone 1 vmgenid "$STIR" add "$TMP/vmgenid" 4088
ages kmsg log_line "6,102,5000001,-;another line, and one that was lost"
ages vmclock "$STIR" vmclock "$TMP/vmclock" migrate

# One clone, seen twice: the line comes after the identifier moved, and is no second event.
clone 1 vmgenid "$STIR" add "$TMP/vmgenid" 0
what="the kernel's line after the identifier"
remember
log_line "6,103,5000002,-;$FORK"
moves look_again "$look_again"
[ -z "$late" ] || note "$late"
no_clone

# Lines that are not the kernel's, or not that line.
what="lines that look alike"
remember
log_line "14,104,5000003,-;$FORK"
log_line "6,105,5000004,-;x$FORK"
log_line "6,106,5000005,-;$FORK and more"
log_line "6,107,5000006,-;$FORK\\x0a"
no_clone
# The word's file may be long; the word is four bytes of it.
what="another word of the source"
"$STIR" add "$TMP/source" 8 >/dev/null
no_clone

# What reseeds, and is no clone.
what="SIGHUP"
kill -HUP "$RNGD_PID"
no_clone
if [ "$(status_value detector.kernel.state)" != active ]; then
	note "the kernel's generator is not seen: $(status_value detector.kernel.why)"
elif [ "$(id -u)" -ne 0 ]; then
	note "not root: the kernel is not made to reseed"
else
	ages kernel "$STIR" kernel
	[ "$(status_value reseed.last_reason)" = kernel ] ||
		fail "reseeded for $(status_value reseed.last_reason)"
fi

# Signs that end: in doubt for a clone, once; and STATUS says why.
what="an identifier cut short"
remember
: >"$TMP/vmgenid"
moves word "$word"
[ -z "$late" ] || note "$late"
one_clone 1
[ "$(status_value detector.vmgenid.state)" = failed ] || fail "$what: not failed"
[[ $(status_value detector.vmgenid.why) == *"cut short"* ]] || fail "$what: no why"
remember
no_clone
head -c 4096 /dev/urandom >"$TMP/vmgenid"
stop_rngd
exec 8>&-

# While no daemon ran. The kernel's own log from here on, where it can be read.
SIGNS=(--vmgenid "$TMP/vmgenid" --epoch-source "$TMP/source" --vmclock "$TMP/vmclock")
start_rngd "${SIGNS[@]}"

# down HOW - the daemon ends, by SIGTERM or by SIGKILL.
down() {
	if [ "$1" = TERM ]; then
		stop_rngd
	else
		{ kill -KILL "$RNGD_PID" && wait "$RNGD_PID"; } 2>/dev/null
	fi
}

# missed HOW NUMBER COMMAND... - what the command did meanwhile is an event, and one only.
missed() {
	local how=$1 notifier=$2
	shift 2
	what="SIG$how, then $*"
	remember
	down "$how"
	"$@" >/dev/null || fail "cannot: $*"
	start_rngd "${SIGNS[@]}"
	one_clone "$notifier"
	for _ in 1 2; do
		remember
		down "$how"
		start_rngd "${SIGNS[@]}"
		no_clone
	done
}

for how in TERM KILL; do
	missed $how 1 "$STIR" add "$TMP/vmgenid" 0
	missed $how 5 "$STIR" add "$TMP/source" 0
	missed $how 3 "$STIR" vmclock "$TMP/vmclock" clone
done

# What was seen while it ran is not told again.
for how in TERM KILL; do
	clone 1 vmgenid "$STIR" add "$TMP/vmgenid" 0
	clone 5 epoch_source "$STIR" add "$TMP/source" 0
	clone 3 vmclock "$STIR" vmclock "$TMP/vmclock" clone
	what="clones that were seen, then SIG$how"
	remember
	down $how
	start_rngd "${SIGNS[@]}"
	no_clone
done

# Nothing happened: nothing is said, and the page is the same one.
inode=$(stat -c %i "$PAGE")
remember
for how in TERM KILL TERM KILL KILL; do
	what="restarted after SIG$how"
	before=$(page look_again)
	down $how
	start_rngd "${SIGNS[@]}"
	no_clone
	[ "$(page look_again)" -gt "$before" ] || fail "$what: look again did not move"
	[ "$(stat -c %i "$PAGE")" = "$inode" ] || fail "$what: another inode"
done
# A migration while down says nothing of clones.
what="a migration while down"
down KILL
"$STIR" vmclock "$TMP/vmclock" migrate
start_rngd "${SIGNS[@]}"
no_clone
# A sign that was there and is not any more: a clone cannot be ruled out, once.
down TERM
mv "$TMP/vmgenid" "$TMP/vmgenid.away"
what="the identifier is gone"
remember
start_rngd "${SIGNS[@]}"
one_clone 7
[[ $(status_value detector.vmgenid.why) == *"No such file"* ]] || fail "$what: no why"
remember
down TERM
start_rngd "${SIGNS[@]}"
no_clone
down TERM

# Absent ones say why; nothing moves for want of them.
: >"$TMP/empty"
"$STIR" vmclock "$TMP/open" make
chmod 666 "$TMP/open"
start_rngd --vmgenid "$TMP/empty" --epoch-source "$TMP/empty" --vmclock "$TMP/open" --kmsg "$TMP/none"
for row in 'vmgenid:empty' 'epoch_source:shorter' 'vmclock:others may change' 'kmsg:No such file'; do
	detector=${row%%:*}
	[ "$(status_value "detector.$detector.state")" = absent ] ||
		fail "$detector is $(status_value "detector.$detector.state")"
	[[ $(status_value "detector.$detector.why") == *"${row#*:}"* ]] ||
		fail "$detector is absent because: $(status_value "detector.$detector.why")"
done
remember
what="no detector"
no_clone
stop_rngd

# The real log, if it can be had: what somebody writes there is not the kernel's word.
start_rngd
if [ "$(status_value detector.kmsg.state)" != active ]; then
	note "the kernel's log is not read: $(status_value detector.kmsg.why)"
elif ! printf '<6>rngd test: hello\n' 2>/dev/null >/dev/kmsg; then
	note "the kernel's log cannot be written here"
else
	what="look-alikes in /dev/kmsg"
	remember
	printf '<6>%s\n' "$FORK" >/dev/kmsg
	printf '%s\n' "$FORK" >/dev/kmsg
	printf '<0>x\n6,999999999,1,-;%s\n' "$FORK" >/dev/kmsg
	no_clone
	[ "$(status_value detector.kmsg.cloned)" -eq 0 ] || fail "$what: believed"
fi
stop_rngd
note "on the page after $slowest_ms ms at most"

#!/bin/bash
# soak.sh - everything at once for TIME (30m; 20s, 2h, or seconds), then a table and a verdict. Exit 1 unless
# nothing failed and nothing grew.
#
# In rounds: clients of every kind, hostile ones, clones and bumps without end; then all of them stop, and
# when the daemon has no connection but the one that asks, its descriptors and its memory are read. The first
# round warms up; after it neither may grow:
#  - descriptors: as many as after the first round, in every round.
#  - memory: RssAnon of /proc (RssFile grows when code runs for the first time), less GRAIN_KB. Compared are the
#    least of the first and the least of the last third of the rounds after the first: what is kept stays, what
#    one round happened to need goes.
# A second daemon is killed and started again every second, while clients of its own go on.
# As another user than root: without hostile users.
set -u
. "$(dirname "$0")/system/lib.sh"

case ${TIME:-30m} in
*h) seconds=$((${TIME%h} * 3600)) ;;
*m) seconds=$((${TIME%m} * 60)) ;;
*s) seconds=${TIME%s} ;;
*[!0-9]*) fail "TIME is not 20s, 30m or 2h" ;;
*) seconds=$TIME ;;
esac
ROUND_S=$((seconds / 6))
[ "$ROUND_S" -le 60 ] || ROUND_S=60
[ "$ROUND_S" -ge 3 ] || ROUND_S=3
GRAIN_KB=16
MIXED=6    # clients that look closely
LOAD=16    # clients of the library, of which ten a second are killed
HOSTILE=60 # connections, by each of two users
SHARE=40   # of one user: fewer than that
KINDS=(both held storm vanish greedy chatty readers senders)
STIR=$BUILD/tests/stir
SECOND=$TMP/second.sock
failures=0
kills=0

wrong() {
	echo "soak: $*"
	failures=$((failures + 1))
}

fds() {
	if [ "$(id -u)" -eq 0 ]; then
		find "/proc/$RNGD_PID/fd" -mindepth 1 | wc -l
	else
		status_value server.connections
	fi
}

# memory NAME - of /proc/PID/status, in kB
memory() {
	awk -v name="$1:" '$1 == name { print $2 }' "/proc/$RNGD_PID/status"
}

cpu_ticks() {
	awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$RNGD_PID/stat"
}

quiet() {
	[ "$(status_value server.connections)" -eq 1 ]
}

# start NAME COMMAND... - in the background; finish() asks what became of it.
declare -A jobs_of=()
start() {
	local name=$1
	shift
	"$@" >"$TMP/$name.out" 2>"$TMP/$name.err" &
	jobs_of[$name]=$!
}

finish() {
	local name status
	for name in "${!jobs_of[@]}"; do
		wait "${jobs_of[$name]}"
		status=$?
		[ $status -eq 0 ] || wrong "round $round: $name: status $status: $(cat "$TMP/$name.err" "$TMP/$name.out")"
	done
	jobs_of=()
}

# A client without end of the daemon that is killed: it must not notice. A million bytes each 50 ms are enough.
reconnect() {
	local end=$1
	"$RNGCLI" --timeout 20 -s "$SECOND" --raw 1T | while [ $SECONDS -lt "$end" ]; do
		[ "$(head -c 1000000 | wc -c)" -eq 1000000 ] || exit 1
		sleep 0.05
	done
	[ "${PIPESTATUS[1]}" -eq 0 ]
}

# Clones, by every sign there is here, and the host's own word.
clones() {
	local end=$1
	while [ $SECONDS -lt "$end" ]; do
		"$STIR" add "$TMP/vmgenid" 0 >/dev/null && "$STIR" vmclock "$TMP/vmclock" clone || return 1
		head -c 32 /dev/urandom | "$RNGCLI" -s "$SOCK" bump >/dev/null || return 1
		"$RNGCLI" -s "$SOCK" reseed || return 1
		"$RNGCLI" -s "$SOCK" status >/dev/null || return 1
		sleep 0.1
	done
}

second_start() {
	"$RNGD" --socket "$SECOND" 2>>"$TMP/second.log" &
	second=$!
}

second_kill() {
	kill -KILL "$second" 2>/dev/null || wrong "the second daemon ended by itself"
	{ wait "$second"; } 2>/dev/null
	kills=$((kills + 1))
	second_start
}

second_answers() {
	"$RNGCLI" --timeout 1 -s "$SECOND" 1
}

# load_for SECONDS ROUND - samples once a second: peak_fds, peak_kb.
load_for() {
	local now presser end=$((SECONDS + $1)) kind=${KINDS[$2 * 2 % ${#KINDS[@]}]} other=${KINDS[($2 * 2 + 1) % ${#KINDS[@]}]}
	kinds="$kind $other"
	start mixed "$BUILD/tests/mixed" "$SOCK" "$1" "$MIXED"
	start load "$BUILD/tests/load" "$SOCK" "$1" "$LOAD"
	start clones clones "$end"
	wait_for 20 second_answers || wrong "round $2: the second daemon does not come up"
	start reconnect-1 reconnect "$end"
	start reconnect-2 reconnect "$end"
	if [ "$(id -u)" -eq 0 ]; then
		start "$kind" "$BUILD/tests/hostile" "$SOCK" "$kind" "$1" "$HOSTILE" 54321
		start "$other" "$BUILD/tests/hostile" "$SOCK" "$other" "$1" "$HOSTILE" 54322
	fi
	# Thousands of bumps within a second.
	"$STIR" press "$SOCK.control" &
	presser=$!
	peak_fds=0 peak_kb=0
	while [ $SECONDS -lt "$end" ]; do
		sleep 1
		[ -z "$presser" ] || { kill -KILL "$presser" && wait "$presser"; } 2>/dev/null
		presser=
		kill -0 "$RNGD_PID" 2>/dev/null || fail "round $round: the daemon is gone"
		now=$(fds)
		[ "$now" -le "$peak_fds" ] || peak_fds=$now
		now=$(memory VmRSS)
		[ "$now" -le "$peak_kb" ] || peak_kb=$now
		second_kill
	done
	finish
}

# least FROM TO - of anon[]
least() {
	printf '%s\n' "${anon[@]:$1:$(($2 - $1 + 1))}" | sort -n | head -n 1
}

"$STIR" vmclock "$TMP/vmclock" make || fail "no vmclock page"
head -c 16 /dev/urandom >"$TMP/vmgenid"
chmod 644 "$TMP/vmgenid" "$TMP/vmclock"
start_rngd --vmgenid "$TMP/vmgenid" --vmclock "$TMP/vmclock" --reseed-interval 1 --request-timeout 2 \
	--reply-timeout 4 --max-connections 400 --max-connections-per-uid "$SHARE"
second_start
anon=() open=() round=0 end=$((SECONDS + seconds))
hertz=$(getconf CLK_TCK)
printf '%-5s %-16s %9s %7s %6s %7s %7s %8s %5s %6s %8s\n' round hostile requests MB again 'slow ms' \
	'fds max' 'RSS max' CPU% 'fds' 'anon kB'
while [ $round -lt 4 ] || [ $((SECONDS + ROUND_S / 2)) -lt $end ]; do
	ticks=$(cpu_ticks) begin=$SECONDS
	load_for $ROUND_S $round
	ticks=$((($(cpu_ticks) - ticks) * 100 / hertz / (SECONDS > begin ? SECONDS - begin : 1)))
	wait_for 20 quiet || wrong "round $round: $(status_value server.connections) connections are left"
	open+=("$(idle_fds)") anon+=("$(memory RssAnon)")
	requests=0 mb=0 again=0 slowest_ms=0
	eval "$(grep -E '^requests=[0-9a-z_= ]*$' "$TMP/mixed.out" | tr ' ' '\n')"
	printf '%-5s %-16s %9s %7s %6s %7s %7s %8s %5s %6s %8s\n' $round "$kinds" "$requests" "$mb" "$again" \
		"$slowest_ms" "$peak_fds" "$peak_kb" "$ticks" "${open[$round]}" "${anon[$round]}"
	[ "${open[$round]}" -eq "${open[0]}" ] ||
		wrong "round $round: ${open[$round]} descriptors, ${open[0]} after the first"
	round=$((round + 1))
done

third=$(((round + 1) / 3))
first_kb=$(least 1 $third) last_kb=$(least $((round - third)) $((round - 1)))
[ $((last_kb - first_kb)) -le $GRAIN_KB ] || [ -n "$SAN" ] ||
	wrong "RssAnon grew from $first_kb to $last_kb kB"
[ "$(status_value reseed.failures)" -eq 0 ] || wrong "reseeds failed"
[ "$(status_value server.accept_pauses)" -eq 0 ] || wrong "out of descriptors"
bumps=$(status_value epoch.bumps)
generation=$(status_value generation)
refused=$(status_value peers.refused_uid)
timeouts=$(($(status_value peers.request_timeouts) + $(status_value peers.reply_timeouts)))
[ "$bumps" -gt $((round * 10)) ] || wrong "only $bumps bumps: this proves little"
if [ "$(id -u)" -eq 0 ]; then
	[ "$refused" -gt 0 ] || wrong "nobody was refused: this proves little"
	[ "$timeouts" -gt 0 ] || [ $ROUND_S -lt 6 ] || wrong "no deadline passed: this proves little"
fi
{ kill -KILL "$second" && wait "$second"; } 2>/dev/null
stop_rngd
grep -vE 'no user|serves|stopping|was cloned or restored|not shown|refused [0-9]+ connections' "$RNGD_LOG" | sort | uniq -c |
	head -n 5 >"$TMP/unexpected"
[ ! -s "$TMP/unexpected" ] || wrong "unexpected log lines: $(cat "$TMP/unexpected")"
note "$round rounds of $ROUND_S s, $failures failures, fds ${open[0]} -> ${open[$((round - 1))]}," \
	"RssAnon $first_kb -> $last_kb kB; generation $generation, $bumps bumps, $kills kills, $refused refused," \
	"$timeouts timeouts"
[ $failures -eq 0 ] || fail "$failures failures"

# shellcheck shell=bash
# lib.sh - what every system test needs: a private rngd in a private directory, waits with a bound,
# and a clean end. Source it first.
: "${BUILD:?the build directory}"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
case $BUILD in /*) ;; *) BUILD=$ROOT/$BUILD ;; esac
RNGD=$BUILD/rngd
RNGCLI=$BUILD/rngcli
SAN=${SAN:-}
# A tmpfs: an epoch page is only published there.
TMP=$(mktemp -d /dev/shm/rngd-test.XXXXXX)
chmod 755 "$TMP"
SOCK=$TMP/rngd.sock
RNGD_PID=
RNGD_LOG=$TMP/rngd.log
# The sandbox leaves no room for the leak checker's helper in the daemon.
[ "$SAN" = address ] && export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"

fail() {
	echo "FAIL: $*"
	[ -s "$RNGD_LOG" ] && sed 's/^/  rngd.log: /' "$RNGD_LOG" | tail -n 20
	exit 1
}

skip() {
	echo "SKIP: $*"
	exit 77
}

note() {
	echo "NOTE: $*"
}

# uptime_ms - sets NOW_MS: a clock that nobody sets, in steps of 10 ms. SECONDS and date(1) go with the machine's,
# which is put right at any moment of a test.
uptime_ms() {
	local seconds
	read -r seconds _ </proc/uptime
	NOW_MS=$((10#${seconds/./} * 10))
}

now_ms() {
	uptime_ms
	echo "$NOW_MS"
}

# wait_for SECONDS COMMAND... - until the command succeeds; 1 when it never does.
wait_for() {
	local end_ms
	uptime_ms
	end_ms=$((NOW_MS + $1 * 1000))
	shift
	while ! "$@" >/dev/null 2>&1; do
		uptime_ms
		[ "$NOW_MS" -le "$end_ms" ] || return 1
		sleep 0.02
	done
}

answers() {
	"$RNGCLI" --timeout 1 --socket "$SOCK" 1 >/dev/null 2>&1
}

# start_rngd [OPTION...] - starts it and waits until it answers.
start_rngd() {
	"${RNGD_WRAP[@]}" "$RNGD" --socket "$SOCK" "$@" 2>>"$RNGD_LOG" &
	RNGD_PID=$!
	wait_for 20 answers || fail "rngd did not come up"
}

# stop_rngd - stops it; fails unless it ends by itself with status 0.
stop_rngd() {
	local status
	kill -TERM "$RNGD_PID" 2>/dev/null || fail "rngd is not running any more"
	wait "$RNGD_PID"
	status=$?
	RNGD_PID=
	[ "$status" -eq 0 ] || fail "rngd ended with status $status"
}

status_value() {
	"$RNGCLI" --socket "$SOCK" status --json | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"
}

# callers_start COUNT TIMEOUT_MS PAUSE_MS - so many callers without a pause but that; they report when told to
# (tests/callers.c), and end when descriptor 7 is closed: what else is started must not have it.
callers_start() {
	mkfifo "$TMP/ask"
	"$BUILD/tests/callers" "$SOCK" "$@" <"$TMP/ask" >"$TMP/called" 2>"$TMP/err" &
	CALLERS_PID=$!
	exec 7>"$TMP/ask"
	CALLERS_REPORTS=0
	wait_for 20 callers_ready || fail "the callers do not start: $(cat "$TMP/err")"
}

callers_ready() {
	grep -q ready "$TMP/called"
}

callers_reported() {
	[ "$(grep -c calls= "$TMP/called")" -ge "$CALLERS_REPORTS" ]
}

# callers_report - has them say what became of their calls since the last report.
callers_report() {
	CALLERS_REPORTS=$((CALLERS_REPORTS + 1))
	echo >&7
	wait_for 10 callers_reported || fail "no report"
}

# callers_figure NAME - out of the newest report, or of what they say at their end.
callers_figure() {
	sed -n "s/.*$1=\([0-9]*\).*/\1/p" "$TMP/called" | tail -n 1
}

# callers_end - they end well, and were given nothing twice.
callers_end() {
	exec 7>&-
	wait "$CALLERS_PID" || fail "$(tail -n 1 "$TMP/called"): $(cat "$TMP/err")"
	[ "$(callers_figure repeated)" -eq 0 ] || fail "$(tail -n 1 "$TMP/called")"
}

# idle_fds - how many descriptors the daemon has when nobody but the last one to ask was there: that one's it may not
# have closed yet, so the fewest of three counts. Other users' are hidden from all but root, who sees connections.
idle_fds() {
	local now least="" try
	for try in 1 2 3; do
		[ $try -eq 1 ] || sleep 0.1
		if [ "$(id -u)" -eq 0 ]; then
			now=$(find "/proc/$RNGD_PID/fd" -mindepth 1 | wc -l)
		else
			now=$(status_value server.connections)
		fi
		[ -n "$least" ] && [ "$now" -ge "$least" ] || least=$now
	done
	echo "$least"
}

cleanup() {
	local job
	for job in $(jobs -p); do
		kill -KILL "$job" 2>/dev/null
	done
	wait 2>/dev/null
	rm -rf "$TMP"
}
trap cleanup EXIT
RNGD_WRAP=()

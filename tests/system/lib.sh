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

# wait_for SECONDS COMMAND... - until the command succeeds; 1 when it never does.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	while ! "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -le "$end" ] || return 1
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

#!/bin/bash
# run.sh UNIT... - runs the unit tests named and every tests/system/*.sh against $BUILD; the last line
# counts. A unit test counts as its checks; a system test as one. Exit 1 when one failed.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:?the build directory}"
export BUILD DAEMON_BUILD=${DAEMON_BUILD:-$BUILD} SAN=${SAN:-}
LIMIT_S=400
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The filter leaves no room for the leak checker's helper in the daemon; the unit tests have it.
export ASAN_OPTIONS=abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1

say() { printf '%-6s %-28s %s\n' "$1" "$2" "$3"; }

unit() {
	local build=$1 daemon=$2 name=$3 label=$4 line checks fails errors status n=0
	DAEMON_BUILD=$daemon timeout "$LIMIT_S" "$build/tests/$name" >"$log" 2>&1
	status=$?
	line=$(grep -E '^[0-9]+%: Checks: ' "$log" | tail -n 1)
	if [[ $line =~ Checks:\ ([0-9]+),\ Failures:\ ([0-9]+),\ Errors:\ ([0-9]+) ]]; then
		checks=${BASH_REMATCH[1]} fails=${BASH_REMATCH[2]} errors=${BASH_REMATCH[3]}
	else
		checks=1 fails=0 errors=1
	fi
	n=$(grep -c '^SKIP:' "$log")
	grep '^SKIP:' "$log" | while read -r line; do say skip "$label" "${line#SKIP: }"; done
	skipped=$((skipped + n))
	if [ "$status" -ne 0 ] && [ $((fails + errors)) -eq 0 ]; then
		errors=1
	fi
	failed=$((failed + fails + errors))
	passed=$((passed + checks - fails - errors))
	if [ $((fails + errors)) -eq 0 ]; then
		say ok "$label" "$checks checks"
	else
		say FAIL "$label" "status $status"
		sed 's/^/       | /' "$log"
	fi
}

system() {
	local path=$1 name status
	name=$(basename "$path" .sh)
	timeout "$LIMIT_S" bash "$path" >"$log" 2>&1
	status=$?
	case $status in
	0)
		passed=$((passed + 1))
		say ok "$name" "$(grep '^NOTE: ' "$log" | tail -n 1 | cut -c 7-)"
		;;
	77)
		skipped=$((skipped + 1))
		say skip "$name" "$(sed -n 's/^SKIP: //p' "$log")"
		;;
	*)
		failed=$((failed + 1))
		say FAIL "$name" "status $status"
		sed 's/^/       | /' "$log"
		;;
	esac
}

for name in "$@"; do
	unit "$BUILD" "$DAEMON_BUILD" "$name" "$name"
done
if [ -z "${ONLY_UNITS:-}" ]; then
	if [ -z "$SAN" ]; then
		for name in check_secmem check_rngclient check_rngclient_clone check_protocol check_memory; do
			unit "$BUILD/fallback" "$BUILD/fallback" "$name" "$name (fallback)"
		done
	fi
	for path in tests/system/[0-9]*.sh; do
		system "$path"
	done
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

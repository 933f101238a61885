#!/bin/bash
# scale.sh [ROUNDS] - what many connections cost: starts a private rngd whose limits let them in, and
# has tests/bench/scale say what it saw beside the bars. Judges nothing. As root, for other users' ids.
set -u
cd "$(dirname "$0")/../.." || exit 1
: "${BUILD:?the build directory}"
ROUNDS=${1:-9}
IDLE=18000 ACTIVE=1000
FILES=20000

dir=$(mktemp -d /dev/shm/rngd-scale.XXXXXX) && chmod 755 "$dir" || exit 1
rngd=
trap '[ -z "$rngd" ] || { kill "$rngd" && wait "$rngd"; }; rm -rf "$dir"' EXIT
ulimit -n "$FILES" || { echo "scale.sh: needs $FILES descriptors (ulimit -n)" >&2; exit 1; }
# Of 19,000 connections each of the 40 users has 475.
"$BUILD/rngd" --socket "$dir/s" --max-connections 19900 --max-connections-per-uid 600 2>"$dir/log" &
rngd=$!
for ((i = 0; i < 500; i++)); do
	"$BUILD/rngcli" --socket "$dir/s" 1 >/dev/null 2>&1 && break
	sleep 0.02
done

scale() {
	"$BUILD/tests/bench/scale" "$dir/s" "$rngd" "$@" || exit 1
}

echo "resident memory, $IDLE idle and $ACTIVE active connections (bar: 24576 kB)"
scale memory "$IDLE" "$ACTIVE"
echo "the active ones' 99th percentile, alone and beside the idle (bar: 1.5 times)"
scale tail "$IDLE" "$ACTIVE" "$ROUNDS"
echo "the daemon's processor time for a request, by connections that ask at once (bar: 2 times)"
scale cost 60000 "$ROUNDS" 1 10 100 1000 10000
echo "a small client's 99th percentile, alone and beside 8 bulk readers (bar: 4 times)"
scale bulk 8 "$ROUNDS"

#!/bin/sh
# stats.sh - rngtest, ent and dieharder over what rngd serves. Long: dieharder takes over an hour.
# They can show that output is broken, never that it is good. Exit 1 when one of them says so.
# Environment: BUILD; DIEHARDER_ARGS (-a), for example '-d 0' for one test alone.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:?the build directory}"
DIEHARDER_ARGS=${DIEHARDER_ARGS:--a}
RNGTEST_BLOCKS=100000 # of 20,000 bits
RNGTEST_MOST=120      # true randomness fails in 80 of them on average, and in 120 once in 100,000 runs
ENT_BYTES=104857600
failed=0

sh tests/need.sh ent dieharder || exit 1

# The package with rngtest would start a daemon of the same name as ours: unpacked, not installed.
rngtest=$(command -v rngtest) || {
	rngtest=$BUILD/stats/usr/bin/rngtest
	[ -x "$rngtest" ] || {
		mkdir -p "$BUILD/stats" &&
			(cd "$BUILD/stats" && apt-get download -q rng-tools5 &&
				dpkg-deb -x rng-tools5_*.deb .) || exit 1
	}
}

dir=$(mktemp -d /tmp/rngd-stats.XXXXXX) || exit 1
chmod 755 "$dir"
"$BUILD/rngd" --socket "$dir/sock" 2>"$dir/log" &
rngd=$!
trap 'kill "$rngd" 2>/dev/null; wait "$rngd"; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
output() {
	"$BUILD/rngcli" --socket "$dir/sock" --quiet --raw "$1"
}
tries=500
until output 1 >/dev/null 2>&1; do
	tries=$((tries - 1))
	if [ "$tries" -eq 0 ] || ! kill -0 "$rngd" 2>/dev/null; then
		cat "$dir/log" >&2
		exit 1
	fi
	sleep 0.02
done

bad() {
	echo "stats: $*"
	failed=1
}

echo "== rngtest, $RNGTEST_BLOCKS blocks"
output 1T 2>/dev/null | "$rngtest" -c "$RNGTEST_BLOCKS" >"$dir/rngtest" 2>&1
grep -E 'FIPS 140-2|Monobit|Poker|Runs|Long run|Continuous' "$dir/rngtest"
failures=$(sed -n 's/.*FIPS 140-2 failures: *//p' "$dir/rngtest")
[ "${failures:-$RNGTEST_BLOCKS}" -le "$RNGTEST_MOST" ] ||
	bad "rngtest: ${failures:-all} blocks failed, $RNGTEST_MOST are to be expected at most"

echo "== ent, $ENT_BYTES bytes"
output "$ENT_BYTES" | ent -t >"$dir/ent"
output "$ENT_BYTES" | ent
# Chi-square of 255 degrees of freedom: outside of 160 to 370 once in 100,000 runs.
awk -F, '$1 == 1 { exit !($3 >= 7.99999 && $4 > 160 && $4 < 370) }' "$dir/ent" ||
	bad "ent: $(tail -n 1 "$dir/ent")"

echo "== dieharder $DIEHARDER_ARGS"
# A list of words on purpose.
# shellcheck disable=SC2086
output 1000T 2>/dev/null | dieharder -g 200 $DIEHARDER_ARGS | tee "$dir/dieharder"
echo "dieharder: $(grep -c PASSED "$dir/dieharder") passed," \
	"$(grep -c WEAK "$dir/dieharder") weak, $(grep -c FAILED "$dir/dieharder") failed"
grep -q 'PASSED' "$dir/dieharder" || bad "dieharder: nothing passed"
grep -q 'FAILED' "$dir/dieharder" && bad "dieharder: a test failed; of 114 runs a few weak ones are usual"
exit "$failed"

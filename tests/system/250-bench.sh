#!/bin/bash
# The benchmark runs to its end and writes what doc/measurements.md says, every row of it. The rounds are tiny and
# the figures mean nothing: no speed is judged here.
set -u
. "$(dirname "$0")/lib.sh"

BENCH=$BUILD/tests/bench/bench
export BUILD

[ -z "$SAN" ] || skip "a sanitizer is not what is measured"

# holds FILE FILTER [JQ-OPTION...] - whether the filter gives true; what it gives otherwise is in the log.
holds() {
	local file=$1 filter=$2
	shift 2
	jq -e "$@" "$filter" "$file" >"$TMP/jq" 2>&1
}

"$BENCH" smoke --json "$TMP/bench.json" >"$TMP/table" 2>&1 || fail "status $?: $(tail -n 20 "$TMP/table")"
"$BENCH" smoke --json "$TMP/sweep.json" sweep-size sweep-crowd >"$TMP/table2" 2>&1 ||
	fail "sweep: status $?: $(tail -n 20 "$TMP/table2")"

for file in "$TMP/bench.json" "$TMP/sweep.json"; do
	holds "$file" '.schema == 1 and .mode == "smoke" and (.date | test("^[0-9-]{10}T[0-9:]{8}Z$"))
		and (.machine | (.cpu | length > 0) and (.processors > 0) and (.kernel | length > 0) and (.arch | length > 0)
			and (.instruction_sets | type == "array"))
		and (.libraries | [.openssl, .libsodium, .glibc] | all(type == "string" and length > 0))' ||
		fail "head of $file: $(head -c 600 "$file")"
	bad=$(jq -c '.rows[] | select((
		([.name, .group, .unit, .peer_name] | all(type == "string" and length > 0))
		and ([.size_bytes, .connections] | all(. == null or . >= 1))
		and ((.ours > 0 or .group == "idle") and .theirs >= 0 and .rounds >= 3)
		and (if .theirs > 0 then .ratio_low <= .ratio and .ratio <= .ratio_high and .ratio_low > 0
			else [.ratio, .ratio_low, .ratio_high] == [null, null, null] end)
		and (if .bar_is == null then .bar == null and .met == null
			else .bar > 0 and (.met | type == "boolean") and (.bar_is | IN("ratio>=", "ratio<=", "ours<=")) end)
		and (if .bar_is == "ratio>=" then .met == (.ratio >= .bar) elif .bar_is == "ratio<=" then .met == (.ratio <= .bar)
			elif .bar_is == "ours<=" then .met == (.ours <= .bar) else true end)
		) | not)' "$file" 2>&1)
	[ -z "$bad" ] || fail "rows that are not as they should be: $bad"
	holds "$file" '[.skipped[] | (.group | length > 0) and (.reason | length > 0 and . != "it could not be run")] | all' ||
		fail "skipped: $(jq -c .skipped "$file")"
	holds "$file" '[.rows[] | [.group, .name, .size_bytes, .connections, .peer_name]] | length == (unique | length)' ||
		fail "a row is there twice"
done

# Every group says something: rows, or why there are none.
"$BENCH" list | cut -d ' ' -f 1 | while read -r group; do
	cat "$TMP/bench.json" "$TMP/sweep.json" | jq -es --arg group "$group" \
		'[.[] | (.rows + .skipped)[] | .group] | index($group)' >/dev/null || echo "$group"
done >"$TMP/silent"
[ -s "$TMP/silent" ] && fail "groups that say nothing: $(xargs <"$TMP/silent")"

# What there is on any machine, with its bar.
while read -r group size bar name_and_peer; do
	holds "$TMP/bench.json" '[.rows[] | select(.group == $group and (.size_bytes // 0) == $size and
		"\(.name):\(.peer_name)" == $what and (.bar // 0) == $bar)] | length == 1' \
		--arg group "$group" --argjson size "$size" --argjson bar "$bar" --arg what "$name_and_peer" ||
		fail "no row $group $name_and_peer of $size bytes with the bar $bar"
done <<'END'
chacha20-integer-sodium 64 0 keystream:libsodium
chacha20-integer-sodium 262144 0 keystream:libsodium
local-u32 4 60 u32:getrandom(2)
local-thread 4 0 u32:getrandom(2)
local-bytes 32 0 bytes:getrandom(2)
local-threads 4 0.95 u32:sum of one each
local-threads 1024 0.95 bytes:sum of one each
bulk-one 1048576 5 get:getrandom(2)
bulk-one 1048576 0.4 get:bare server
trip-one 32 1.15 get p50:bare server
trip-one 32 1.3 get p99:bare server
trip-one 32 0 get mean:getrandom(2)
pipeline-one 32 0.8 1 x 64 deep:bare server
pipeline-one 32 0.8 1 x 64 deep:bare echo
pipeline-one 32 0.8 64 x 64 deep:bare server
pipeline-one 32 0.8 64 x 64 deep:bare echo
pull 1048576 0 rngcli:head -c /dev/urandom
start 0 30 exec to READY:bare server
start 0 5 memory:bare server
END
[ "$(jq '.rows | length' "$TMP/bench.json")" -ge 60 ] || fail "only $(jq '.rows | length' "$TMP/bench.json") rows"

# Two runs beside each other: nothing moved against itself; what did is told, and which way is better.
compare() {
	jq -rn -f "$ROOT/tests/bench/compare.jq" "$1" "$2"
}
compare "$TMP/bench.json" "$TMP/bench.json" >"$TMP/compared" || fail "compare: status $?"
grep -qx '[0-9]* rows compared, 0 moved' "$TMP/compared" || fail "against itself: $(cat "$TMP/compared")"
[ "$(wc -l <"$TMP/compared")" -eq 1 ] || fail "against itself: $(cat "$TMP/compared")"
jq '.rows |= map(if .group == "local-u32" and .peer_name == "getrandom(2)" or .group == "trip-one" and .name == "get p50"
	then .ratio *= 9 | .ratio_low *= 9 | .ratio_high *= 9
	elif .group == "pull" then .ratio_low = .ratio | .ratio_high = .ratio | .ratio *= 1.04 | .ratio_low *= 1.04 | .ratio_high *= 1.04
	elif .group == "bulk-one" then .ratio *= 9 | .ratio_high *= 9 else . end)
	| .rows |= map(select(.group != "start" or .name != "memory"))' "$TMP/bench.json" >"$TMP/other.json"
jq '.rows |= map(if .group == "local-u32" or .group == "trip-one" or .group == "pull"
	then .ratio_low = .ratio | .ratio_high = .ratio else . end)' "$TMP/bench.json" >"$TMP/old.json"
compare "$TMP/old.json" "$TMP/other.json" >"$TMP/compared" || fail "compare: status $?"
grep -q '^better  local-u32 u32 4 beside getrandom(2): .*, 800 %$' "$TMP/compared" &&
	grep -q '^worse   trip-one get p50 32 beside bare server: .*, 800 %$' "$TMP/compared" &&
	grep -q '^gone    start memory beside bare server$' "$TMP/compared" &&
	grep -q ' rows compared, 2 moved$' "$TMP/compared" || fail "compare: $(cat "$TMP/compared")"

# Interrupted, it leaves neither its directory nor a process.
"$BENCH" full --json "$TMP/none.json" idle >/dev/null 2>&1 &
pid=$!
# A daemon that serves has dropped its privileges, and with them the signal it was to get when its parent dies.
directory() {
	dir=$(pgrep -a -P "$pid" | sed -n 's|.* --apart full \(/dev/shm/bench\.[^ ]*\) .*|\1|p')
	[ -n "$dir" ] && [ -S "$dir/bare" ] && "$RNGCLI" --timeout 1 --socket "$dir/rngd" 1
}
dir=
wait_for 10 directory || fail "it does not start"
kill -TERM "$pid"
wait "$pid"
status=$?
[ $status -eq 130 ] || fail "interrupted, it ended with status $status"
[ ! -e "$dir" ] || fail "$dir is left"
gone() {
	! pgrep -f "$dir/"
}
wait_for 5 gone || fail "left running: $(pgrep -af "$dir/")"
[ ! -e "$TMP/none.json" ] || fail "it wrote a file all the same"
note "$(jq '.rows | length' "$TMP/bench.json") rows, $(jq '.skipped | length' "$TMP/bench.json") skipped"

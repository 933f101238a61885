#!/bin/bash
# rngcli status: for people and for programs, and what who is shown.
set -u
. "$(dirname "$0")/lib.sh"

OTHER=54321  # a user id that asks for much
CALLER=54322 # one that watches

start_rngd --max-connections 64 --max-connections-per-uid 16
cli() {
	"$RNGCLI" --socket "$SOCK" "$@"
}
as() {
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}

cli status >"$TMP/text" || fail "status: status $?"
cli status --json >"$TMP/json" || fail "status --json: status $?"

# Every line one of: brace, "name": value. Then, if there is a parser, ask it too.
sed -e '1{/^{$/d}' -e '${/^}$/d}' "$TMP/json" >"$TMP/pairs"
value='(-?[0-9]+|true|false|"[^"\\]*")'
grep -vE "^  \"[a-z][a-z0-9_.-]*\": $value,?\$" "$TMP/pairs" && fail "these lines are no pairs"
[ "$(grep -c ',$' "$TMP/pairs")" -eq $(($(wc -l <"$TMP/pairs") - 1)) ] || fail "wrong commas"
if command -v python3 >/dev/null; then
	python3 -m json.tool "$TMP/json" >/dev/null || fail "--json is not valid JSON"
else
	note "no python3: the JSON was checked with grep only"
fi

# schema FILE WHO - each name and type of this JSON is in the table of PROTOCOL.md, and for WHO ("all", or
# "root", who is shown the others too); and each of the table is there, unless its row says when it is not.
schema() {
	awk -v who="$2" '
	function pattern(name) {
		gsub(/\./, "\\.", name)
		sub(/NAME/, "[a-z][a-z0-9_]*", name)
		sub(/uidN/, "uid[0-9]+", name)
		return "^" name "$"
	}
	NR == FNR {
		if ($0 ~ /^## /)
			table = $0 == "## STATUS fields"
		if (!table || $0 !~ /^\| `/)
			next
		split($0, cells, / *\| */)
		n = split(cells[2], names, /, /)
		for (i = 1; i <= n; i++) {
			gsub(/`/, "", names[i])
			type[pattern(names[i])] = cells[3]
			to[pattern(names[i])] = cells[4]
			optional[pattern(names[i])] = cells[5] ~ /not there/
		}
		next
	}
	/^  "/ {
		split($0, halves, /": /)
		name = substr(halves[1], 4)
		is = halves[2] ~ /^"/ ? "string" : halves[2] ~ /^(true|false)/ ? "boolean" : "integer"
		found = 0
		for (p in type)
			if (name ~ p) {
				found = seen[p] = 1
				if (type[p] != is)
					print name " is no " type[p]
				if (to[p] == "root" && who != "root")
					print name " is not for all"
			}
		if (!found)
			print name " is not in the table"
	}
	END {
		for (p in type) {
			rows++
			if (!seen[p] && !optional[p] && (to[p] == "all" || who == "root"))
				print p " is missing"
		}
		if (rows < 50)
			print "only " rows + 0 " rows in the table"
	}' "$ROOT/proto/PROTOCOL.md" "$1" >"$TMP/wrong"
	[ ! -s "$TMP/wrong" ] || fail "schema, $2: $(cat "$TMP/wrong")"
}
schema "$TMP/json" root

# What people see.
[ "$(status_value state)" = serving ] || fail "state is '$(status_value state)'"
grep -qE '^rngd [0-9.]+: serving for [0-9]+' "$TMP/text" || fail "the text does not begin with the state"
grep -qE '^  clones +generation 1' "$TMP/text" || fail "the text does not show the generation"
for name in vmgenid vmclock epoch_source kmsg kernel clock rdseed rdrand; do
	grep -qE "^  $name +(active|absent|failed)( |\$)" "$TMP/text" || fail "the text does not show $name"
done
grep -qE '^  (memory|sandbox) +(good|missing) ' "$TMP/text" || fail "the text does not show the protection"
grep -q '^Other' "$TMP/text" && fail "rngcli does not know all of its own daemon: $(sed -n '/^Other/,$p' "$TMP/text")"
grep -q ' $' "$TMP/text" && fail "lines end with blanks"
grep -q $'\033' "$TMP/text" "$TMP/json" && fail "colour outside a terminal"

# After a clone.
head -c 32 /dev/urandom | cli bump >/dev/null || fail "bump: status $?"
cli status | grep -qE '^  clones +generation 2; last clone [0-9.]+ m?s ago, noticed by host' || fail "no last clone"
cli status --json >"$TMP/json"
schema "$TMP/json" root
grep -q '"epoch.clone_by": "host"' "$TMP/json" || fail "no clone_by"

if [ "$(id -u)" -ne 0 ]; then
	stop_rngd
	note "not root: what other users see was not tried"
	exit 0
fi

# What a user sees does not move with what another asks for: 16 connections and as many refused, requests,
# bytes, deadlines. But time passes, and the kernel may reseed meanwhile.
watch() {
	as $CALLER "$RNGCLI" --socket "$SOCK" status --json >"$TMP/json" || fail "status as $CALLER: status $?"
	schema "$TMP/json" all
	grep -vE '_ms"|"detector\.(kernel|clock)\.|"reseed\.(count|last_reason)"|"epoch\.(look_again|kernel_reseeded|mover)"' \
		"$TMP/json" >"$1"
}
watch "$TMP/before"
accepted=$(status_value server.accepted)
"$BUILD/tests/hostile" "$SOCK" chatty 3 32 $OTHER >"$TMP/chatty" &
chatty=$!
# All of it out of one answer: they are there for three seconds.
crowded() {
	cli status --json >"$TMP/json" &&
		[ "$(sed -n "s/.*\"user.uid$OTHER.requests\": \([0-9]*\).*/\1/p" "$TMP/json")" -gt 100 ] &&
		grep -q "\"user.uid$OTHER.connections\": 16\>" "$TMP/json" &&
		[ "$(sed -n 's/.*"peers.refused_uid": \([0-9]*\).*/\1/p' "$TMP/json")" -ge 16 ]
}
wait_for 10 crowded || fail "root does not see what $OTHER does: $(cli status)"
watch "$TMP/during"
wait $chatty || fail "chatty: $(cat "$TMP/chatty")"
watch "$TMP/after"
for when in during after; do
	diff "$TMP/before" "$TMP/$when" >"$TMP/moved" || fail "$CALLER saw what $OTHER did, $when: $(cat "$TMP/moved")"
done
[ "$(status_value server.accepted)" -gt $((accepted + 16)) ] || fail "root does not see who was accepted"
grep -q "\"caller.uid\": $CALLER" "$TMP/after" || fail "the caller is not told of itself"

# Nor is more shown to the user the daemon runs as, which may be "nobody".
runs_as=$(status_value sandbox.uid)
as "$runs_as" "$RNGCLI" --socket "$SOCK" status --json >"$TMP/json" || fail "status as $runs_as: status $?"
schema "$TMP/json" all

# Its own, it sees: 5 connections are held beside the one that asks.
as $CALLER "$BUILD/tests/hostile" "$SOCK" held 3 5 >"$TMP/held" &
held=$!
own() {
	as $CALLER "$RNGCLI" --socket "$SOCK" status --json >"$TMP/json" &&
		[ "$(sed -n 's/.*"caller.connections": \([0-9]*\).*/\1/p' "$TMP/json")" -ge 6 ]
}
wait_for 10 own || fail "the caller does not see its own connections"
wait $held || fail "held: $(cat "$TMP/held")"
as $CALLER "$RNGCLI" --socket "$SOCK" status >"$TMP/text" || fail "status as $CALLER: status $?"
grep -q "other users' figures are for root" "$TMP/text" || fail "the text does not say what is left out"
stop_rngd

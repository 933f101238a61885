#!/bin/bash
# rngcli status: for people and for programs.
set -u
. "$(dirname "$0")/lib.sh"

start_rngd
cli() {
	"$RNGCLI" --socket "$SOCK" "$@"
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

# The same facts in both.
[ "$(status_value state)" = serving ] || fail "state is '$(status_value state)'"
grep -qE '^  state +serving$' "$TMP/text" || fail "the text does not show the state"
grep -qE '^[a-z]+$' "$TMP/text" || fail "the text has no groups"
grep -qE '^  uptime +[0-9]+' "$TMP/text" || fail "uptime_ms has no human form"
pairs=$(wc -l <"$TMP/pairs")
[ "$(grep -c '^  ' "$TMP/text")" -eq "$pairs" ] || fail "not all $pairs entries are shown"
grep -q $'\033' "$TMP/text" "$TMP/json" && fail "colour outside a terminal"
stop_rngd

#!/bin/bash
# rngcli get: every length and format is exact.
set -u
. "$(dirname "$0")/lib.sh"

start_rngd
cli() {
	"$RNGCLI" --socket "$SOCK" "$@"
}

# expect_bytes COUNT ARG... - raw output of exactly that length
expect_bytes() {
	local want=$1 got
	shift
	got=$(cli "$@" | wc -c; exit "${PIPESTATUS[0]}") || fail "rngcli $*: status $?"
	[ "$got" -eq "$want" ] || fail "rngcli $*: $got bytes, not $want"
}

expect_bytes 32
expect_bytes 32 get
expect_bytes 33 get 33
expect_bytes 7 get --raw 7
for n in 1 31 32 33 4095 4096 4097 65535 65536 65537 786431 786432 786433; do
	expect_bytes $n $n
done
expect_bytes 1024 1K
expect_bytes 1000 1KB
expect_bytes 1024 1KiB
expect_bytes 5242880 5M
expect_bytes 5000000 5MB
if [ -z "$SAN" ]; then
	expect_bytes 1073741824 1G
else
	expect_bytes 67108864 64M
fi

# Different each time, and no run of zeroes.
a=$(cli --hex) b=$(cli --hex)
[ "$a" != "$b" ] || fail "the same 32 bytes twice: $a"
[ "$(cli 1M | tr -d '\0' | wc -c)" -gt 1030000 ] || fail "too many zero bytes"

# Hexadecimal: one line, two digits a byte.
[[ $a =~ ^[0-9a-f]{64}$ ]] || fail "--hex printed '$a'"
for n in 1 33 786433; do
	got=$(cli --hex $n | wc -lc | tr -s ' ')
	[ "$got" = " 1 $((2 * n + 1))" ] || fail "--hex $n: lines and bytes are $got"
done

# base64: one line, padding only at its end, decodes to the length asked for.
for n in 1 2 3 31 32 33 786431 786432 786433; do
	cli --base64 $n >"$TMP/text" || fail "--base64 $n: status $?"
	[ "$(wc -l <"$TMP/text")" -eq 1 ] || fail "--base64 $n is not one line"
	got=$(base64 -d "$TMP/text" | wc -c; exit "${PIPESTATUS[0]}") || fail "--base64 $n is invalid"
	[ "$got" -eq $n ] || fail "--base64 $n decodes to $got bytes"
done

# UUIDs: version 4, variant 10xx and both its free bits used, all different.
form='^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'
[[ $(cli --uuid) =~ $form ]] || fail "--uuid printed '$(cli --uuid)'"
count=50000 # more than one chunk
cli --uuid $count >"$TMP/uuids" || fail "--uuid $count: status $?"
[ "$(grep -cE "$form" "$TMP/uuids")" -eq $count ] || fail "not all are version 4 UUIDs"
[ "$(wc -c <"$TMP/uuids")" -eq $((37 * count)) ] || fail "--uuid $count: extra output"
[ "$(sort -u "$TMP/uuids" | wc -l)" -eq $count ] || fail "a UUID came twice"
[ "$(cut -c 20 "$TMP/uuids" | sort -u | tr -d '\n')" = 89ab ] || fail "variant bits are stuck"

# A non-blocking standard output: rngcli waits for room.
if command -v perl >/dev/null; then
	got=$(perl -MFcntl -e 'fcntl(STDOUT, F_SETFL, O_WRONLY | O_NONBLOCK) or die; exec @ARGV' \
		"$RNGCLI" --socket "$SOCK" 5M | wc -c; exit "${PIPESTATUS[0]}") ||
		fail "non-blocking standard output: status $?"
	[ "$got" -eq 5242880 ] || fail "non-blocking standard output: $got bytes"
fi
stop_rngd

#!/bin/bash
# rngcli against a server that answers what it is told to: known bytes come out in the right digits,
# refusals have their exit codes, and a hostile status reaches neither the terminal nor the JSON.
set -u
. "$(dirname "$0")/lib.sh"
command -v perl >/dev/null || skip "no perl to serve with"

# Answers each request with the status byte and the body found in two files; a GET's body as long as
# asked for. Of clones it knows nothing: LOOK and PAGE are unknown operations.
cat >"$TMP/server.pl" <<'PERL'
use strict;
use warnings;
use IO::Socket::UNIX;
my ($path, $dir) = @ARGV;

sub content {
	open my $file, '<:raw', "$dir/$_[0]" or die;
	local $/;
	return scalar <$file> // '';
}

$SIG{PIPE} = 'IGNORE';
$SIG{CHLD} = 'IGNORE';
my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => $path, Listen => 5) or die;
while (1) {
	my $peer = $listener->accept or next;
	next if fork;
	while (read($peer, my $head, 12) == 12) {
		my ($length, $opcode, $version, $flags, $tag) = unpack 'NCCnN', $head;
		read($peer, my $ask, $length - 8) if $length > 8;
		my ($status, $body) = (content('status'), content('body'));
		($status, $body) = ("\2", '') if $opcode == 3 || $opcode == 4;
		$body = substr $body, 0, unpack 'N', $ask if $opcode == 1;
		print $peer pack('NCCCCNNN', 16 + length $body, $opcode, $version,
			ord $status, 0, $tag, 0, 1), $body;
		$peer->flush;
	}
	exit;
}
PERL

# serve STATUS BODY - both as printf(1) takes them
serve() {
	# shellcheck disable=SC2059
	printf "$1" >"$TMP/status"
	# shellcheck disable=SC2059
	printf "$2" >"$TMP/body"
}
cli() {
	timeout 10 "$RNGCLI" -s "$SOCK" "$@"
}
up() {
	cli --raw 1
}

serve '\0' 'x'
perl "$TMP/server.pl" "$SOCK" "$TMP" &
wait_for 10 up || fail "the server did not come up"

# Every byte value, in every format.
serve '\0' "$(printf '\\%03o' {0..255})"
[ "$(cli 256 | od -An -v -tu1 | xargs)" = "$(echo {0..255})" ] || fail "raw bytes came out wrong"
[ "$(cli --hex 256)" = "$(printf '%02x' {0..255})" ] || fail "--hex came out wrong"
for n in 1 2 3 254 255 256; do
	[ "$(cli --base64 $n)" = "$(head -c $n "$TMP/body" | base64 -w 0)" ] || fail "--base64 $n is wrong"
done
[ "$(cli --uuid 16 | head -n 1)" = 00010203-0405-4607-8809-0a0b0c0d0e0f ] || fail "first UUID is wrong"
[ "$(cli --uuid 16 | tail -n 1)" = f0f1f2f3-f4f5-46f7-b8f9-fafbfcfdfeff ] || fail "last UUID is wrong"

# expect STATUS ARG... - one line of error, no output
expect() {
	local want=$1 got
	shift
	cli "$@" >"$TMP/stdout" 2>"$TMP/err"
	got=$?
	[ $got -eq "$want" ] || fail "$* after $(od -An -c "$TMP/body" | head -n 3): status $got, not $want"
	[ ! -s "$TMP/stdout" ] || fail "$*: standard output: $(cat -v "$TMP/stdout")"
	[ "$(grep -c '^rngcli: ' "$TMP/err")" -eq 1 ] && [ "$(wc -l <"$TMP/err")" -eq 1 ] ||
		fail "$*: $(cat -v "$TMP/err")"
	! LC_ALL=C grep -q '[^ -~]' "$TMP/err" || fail "$*: control characters: $(cat -v "$TMP/err")"
}

# Refusals: 6 is "the last reseed failed", 2 "unknown operation".
serve '\6' 'reason'
expect 75 32
expect 75 -o "$TMP/never" 32
[ ! -e "$TMP/never" ] || fail "a refusal left a file"
serve '\2' ''
expect 1 status

# What the grammar allows.
serve '\0' 'a=1\nb.c_d_e=-5\nb.big=18446744073709551615\nb.no=false\ns=" ~!{}[],:"\nb.x_ms=-1\nz_s=99999999999999999999\n'
for args in status 'status --json'; do
	# shellcheck disable=SC2086
	cli $args >"$TMP/stdout" 2>&1 || fail "$args: a good status was refused: $(cat "$TMP/stdout")"
done
command -v python3 >/dev/null && { python3 -m json.tool "$TMP/stdout" >/dev/null || fail "invalid JSON"; }

# And what it does not. The first part alone would be good: nothing of it may be printed either.
while IFS= read -r body; do
	serve '\0' "$body"
	expect 1 status
	expect 1 status --json
	serve '\0' "good=1\n$body"
	[ -z "$body" ] || expect 1 status --json
done <<'EOT'

a=1
a=1\n\n
\n
a=01\n
a=-\n
a=+1\n
a= 1\n
a=1 \n
a=1.5\n
a=1e3\n
a=123456789012345678901\n
a=\n
a\n
=1\n
.a=1\n
a.=1\n
a..b=1\n
a b=1\n
A=1\n
1a=1\n
a"b=1\n
a\033[31mb=1\n
a=TRUE\n
a=true1\n
a=null\n
a=truefalse\n
a="x\n
a="x"y"\n
a="x","b":"y"\n
a="x\\\\"\n
a="\\\\u001b"\n
a="\033[2J"\n
a="\033]0;owned\007"\n
a="\302\233m"\n
a="\177"\n
a="x\ny"\n
a=1\r\n
a=1\na=2\n
a=1\nb=2\n a=3\n
EOT

#!/bin/bash
# doc/*.[1-9] - no page has a fault that mandoc sees. librngclient.3 names what the library exports, no more and no
# less, each as the headers declare it; and its examples are what they say: built as a reader would, and run.
set -u
. "$(dirname "$0")/lib.sh"
[ -z "$SAN" ] || skip "a manual has no sanitizer build"
command -v mandoc >/dev/null || skip "mandoc is missing"
PAGE=$ROOT/doc/librngclient.3
MAP=$ROOT/client/librngclient.map
cc=$(command -v cc || command -v gcc) || fail "no C compiler"

for page in "$ROOT"/doc/*.[1-9]; do
	said=$(mandoc -T lint -W warning "$page") || fail "mandoc: $said"
done

# ---------------------------------------------------------------- names
exports() {
	sed -n 's/^\t\(rngclient_[a-z0-9_]*\);$/\1/p' "$MAP"
}

# named PAGE SECTION MACRO - what that macro names there.
named() {
	awk -v section="$2" -v macro=".$3" '
		/^\.Sh / { here = substr($0, 5) == section }
		here && ($1 == macro || ($1 == ".It" && "." $2 == macro)) {
			for (i = 2; i <= NF; i++)
				if ($i ~ /^rngclient_/)
					print $i
		}' "$1" | sort -u
}

# names_differ PAGE - says how its names differ from the exports; 1: they do not.
names_differ() {
	local place
	for place in NAME:Nm SYNOPSIS:Fo DESCRIPTION:Fn; do
		diff <(exports | sort) <(named "$1" "${place%:*}" "${place#*:}") | sed -n "s/^[<>]/$place:&/p"
	done | grep .
}
[ -n "$(exports)" ] || fail "the map exports nothing"
! names_differ "$PAGE" || fail "$PAGE and the exports differ"
# It would see one: of a name that begins like another, and of one too many.
for change in '/^\.Nm rngclient_get ,/d' '/^\.Fo rngclient_get$/d' 's/^\.Fn rngclient_getrandom$/getrandom/' \
	's/^\.Fo rngclient_look$/.Fo rngclient_see/'; do
	sed "$change" "$PAGE" >"$TMP/page"
	names_differ "$TMP/page" >/dev/null || fail "nobody misses what '$change' took away"
done

# ---------------------------------------------------------------- declarations
# A compiler that is shown both takes no two that differ.
{
	printf '#include <%s>\n' rngclient.h rngclient_local.h rngclient_fd.h
	awk '
		/^\.Sh / { here = $2 == "SYNOPSIS" }
		!here { next }
		$1 == ".Ft" { type = substr($0, 5) }
		$1 == ".Fo" { name = $2; args = "" }
		$1 == ".Fa" { gsub(/"/, ""); args = args (args ? ", " : "") substr($0, 5) }
		$1 == ".Fc" { print type " " name "(" args ");" }' "$PAGE"
} >"$TMP/synopsis.c"
[ "$(grep -c '^[a-z].*rngclient_.*);$' "$TMP/synopsis.c")" -eq "$(exports | wc -l)" ] || fail "$(cat "$TMP/synopsis.c")"
declared() {
	"$cc" -Wall -Wextra -Werror -fsyntax-only -I"$ROOT/client" "$1" 2>"$TMP/err"
}
declared "$TMP/synopsis.c" || fail "the SYNOPSIS is not what the headers say: $(cat "$TMP/err")"
sed 's/^int rngclient_get(.*size_t/&_t/; s/size_t_t/unsigned short/' "$TMP/synopsis.c" >"$TMP/other.c"
! declared "$TMP/other.c" || fail "nobody sees a declaration that differs"

# structs FILE - the structs that programs see, without what is said of them.
structs() {
	awk '/^struct [a-z_]* \{/ { here = 1 } here { print } /^};/ { here = 0 }' "$1" |
		sed 's|/\*.*||; s/[[:space:]]\{1,\}/ /g; s/^ //; s/ $//; /^$/d'
}
# In mdoc an example has structs too: what has no prefix is no affair of ours.
ours() {
	awk '/^struct / { here = /^struct rngclient_/ } here' <(structs "$1")
}
[ "$(ours "$PAGE")" = "$(ours "$ROOT/client/rngclient.h")" ] ||
	fail "structs differ: $(diff <(ours "$PAGE") <(ours "$ROOT/client/rngclient.h"))"
[ "$(ours "$PAGE" | wc -l)" -ge 20 ] || fail "too few structs: $(ours "$PAGE")"

# ---------------------------------------------------------------- examples
mkdir "$TMP/examples"
awk -v dir="$TMP/examples" '
	/^\.Sh / { here = $2 == "EXAMPLES" }
	/^\.\\" example: / { name = $3; next }
	here && /^\.Bd/ {
		if (!name || $0 != ".Bd -literal -offset indent") print "line " NR > (dir "/unnamed")
		out = dir "/" name ".mdoc"
		next
	}
	/^\.Ed/ { out = name = ""; next }
	out { print > out }' "$PAGE"
[ ! -e "$TMP/examples/unnamed" ] || fail "an example has no name: $(cat "$TMP/examples/unnamed")"
examples='agent draws events fork getrandom key nonce sandbox subscribers'
[ "$(cd "$TMP/examples" && echo *.mdoc)" = "$(printf '%s.mdoc ' $examples | sed 's/ $//')" ] ||
	fail "not the examples that are run here: $(ls "$TMP/examples")"

# What the terminal shows, blanks apart.
plain() {
	sed 's/.\x08//g; s/[[:space:]]\{1,\}/ /g; s/^ //; s/ $//; /^$/d'
}
mandoc -T ascii -O width=80 "$PAGE" | sed 's/.\x08//g' >"$TMP/rendered"
! grep -nE '^.{81}' "$TMP/rendered" || fail "lines of more than 80 columns"
rendered=$(plain <"$TMP/rendered")

# Each asks the daemon at its usual place; these functions, which the linker puts before the library's, say where that is.
cat >"$TMP/elsewhere.c" <<'C'
#include <rngclient.h>
#include <rngclient_local.h>
#include <stdlib.h>
#include <string.h>
int __real_rngclient_connect_fd(const char *path, int timeout_ms);
int __real_rngclient_open(struct rngclient **out, const char *path, int timeout_ms);
int __real_rngclient_local_open(struct rngclient_local **out, const char *path, int timeout_ms, unsigned int options);
int __real_rngclient_local_open_thread(const char *path, int timeout_ms, unsigned int options);
static const char *elsewhere(const char *path)
{
	return getenv(path && strcmp(path, RNGCLIENT_DEFAULT_CONTROL) == 0 ? "TEST_CONTROL" : "TEST_SOCKET");
}
int __wrap_rngclient_connect_fd(const char *path, int timeout_ms)
{
	return __real_rngclient_connect_fd(elsewhere(path), timeout_ms);
}
int __wrap_rngclient_open(struct rngclient **out, const char *path, int timeout_ms)
{
	return __real_rngclient_open(out, elsewhere(path), timeout_ms);
}
int __wrap_rngclient_local_open(struct rngclient_local **out, const char *path, int timeout_ms, unsigned int options)
{
	return __real_rngclient_local_open(out, elsewhere(path), timeout_ms, options);
}
int __wrap_rngclient_local_open_thread(const char *path, int timeout_ms, unsigned int options)
{
	return __real_rngclient_local_open_thread(elsewhere(path), timeout_ms, options);
}
__attribute__((constructor)) static void thread_elsewhere(void)
{
	if (getenv("TEST_THREAD") && rngclient_local_open_thread(NULL, 0, 0) != 0)
		abort();
}
C
wrap=-Wl,--wrap=rngclient_open,--wrap=rngclient_connect_fd,--wrap=rngclient_local_open,--wrap=rngclient_local_open_thread
"$cc" -I"$ROOT/client" -c -o "$TMP/elsewhere.o" "$TMP/elsewhere.c" || fail "elsewhere.c"
for name in $examples; do
	file=$TMP/examples/$name
	! grep -nE '\\([^e&]|$)|^[.'\'']' "$file.mdoc" || fail "$name: mdoc in C"
	sed 's/\\&//g; s/\\e/\\/g' "$file.mdoc" >"$file.c"
	text=$(plain <"$file.c")
	[[ $rendered == *"$text"* ]] || fail "$name is shown otherwise than it stands in the page"
	"$cc" -O2 -Wall -Wextra -Werror -I"$ROOT/client" -o "$file" "$file.c" "$TMP/elsewhere.o" $wrap \
		-L"$BUILD" -lrngclient -Wl,-rpath,"$BUILD" 2>"$TMP/err" || fail "$name: $(cat "$TMP/err")"
done
for name in $(exports); do
	grep -qw "$name" "$TMP/examples/"*.c || fail "no example has $name"
done

# ---------------------------------------------------------------- run
export TEST_SOCKET=$SOCK TEST_CONTROL=$SOCK.control

# run NAME [ARG...] - ends well within 20 s; its output is in $TMP/out. It had bytes of the daemon's unless it begins
# with "-".
run() {
	local before
	before=$(status_value served.bytes)
	timeout 20 "$TMP/examples/${1#-}" "${@:2}" >"$TMP/out" 2>"$TMP/err" || fail "$1: status $?: $(cat "$TMP/err")"
	[ ! -s "$TMP/err" ] || fail "$1 says $(cat "$TMP/err")"
	[ "${1#-}" != "$1" ] || [ "$(status_value served.bytes)" -gt "$before" ] || fail "$1 asked nothing of the daemon"
}
# shows PATTERN - all of the output matches that.
shows() {
	[[ $(cat "$TMP/out") =~ ^$1$ ]] || fail "not '$1': $(cat "$TMP/out")"
}
line=$'\n'

for name in key agent nonce events subscribers draws sandbox; do
	head -c 64 /dev/urandom | timeout 20 "$TMP/examples/$name" >"$TMP/out" 2>"$TMP/err"
	status=$?
	[ $status -eq 1 ] && [ -s "$TMP/err" ] && [ ! -s "$TMP/out" ] || fail "$name without a daemon: status $status"
done

start_rngd --kmsg "$TMP/no-log"
run key
shows "library [0-9.]+; the daemon:.*state=\"serving\".*"
run nonce
shows '1, watched for [1-9][0-9]* ms'
run nonce "$SOCK.epoch"
shows '1, watched for [1-9][0-9]* ms'
run draws
v4='[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'
shows "$v4, a [1-6], 0\.[0-9]{3}$line([1-9][0-9]? ){5}[1-9][0-9]?|$v4, a [1-6], 1\.000$line([1-9][0-9]? ){5}[1-9][0-9]?"
[ -z "$(tail -n 1 "$TMP/out" | tr ' ' '\n' | sort | uniq -d)" ] || fail "a ball came twice: $(cat "$TMP/out")"
run sandbox
shows "$v4"
TEST_THREAD=1 run getrandom
shows '[0-9a-f]{32}'
TEST_THREAD=1 run fork
[ "$(sort "$TMP/out" | sed 's/ [0-9a-f]\{16\}$//' | tr '\n' ' ')" = "before child parent " ] || fail "$(cat "$TMP/out")"
[ -z "$(cut -d ' ' -f 2 "$TMP/out" | sort | uniq -d)" ] || fail "parent and child share a number: $(cat "$TMP/out")"

"$TMP/examples/events" >"$TMP/events" 2>&1 &
events=$!
wait_for 20 grep -qx waiting "$TMP/events" || fail "events: $(cat "$TMP/events")"
head -c 64 /dev/urandom >"$TMP/host"
run -agent <"$TMP/host"
shows 'from 1 to 2'
"$RNGCLI" --socket "$SOCK" settle --timeout 20 >/dev/null 2>"$TMP/err" || fail "events does not act: $(cat "$TMP/err")"
[ "$(cat "$TMP/events")" = "waiting${line}generation 2, noticed by host" ] || fail "events: $(cat "$TMP/events")"
kill -STOP "$events"
run -agent <"$TMP/host"
run -subscribers
shows "generation=3${line}.*owing=1$line.*owes\.1\.pid=$events$line.*"
kill "$events"
kill -CONT "$events"
wait "$events"
stop_rngd

#!/bin/bash
# 241-exports - what the library exports is one list in four places: the linker's map, the shared library, the archive
# and the public headers; and every name has a test that calls it. The headers can be included alone, by any C or C++.
set -u
. "$(dirname "$0")/lib.sh"
command -v nm >/dev/null || skip "nm is missing (binutils)"
cc=$(command -v cc || command -v gcc) || fail "no C compiler"
HEADERS='rngclient.h rngclient_local.h rngclient_fd.h'

# Each prints names, sorted, from the file or directory that it is given.
of_map() {
	sed -n '/^global:/,/^local:/s/^\t\(.*\);$/\1/p' "$1" | sort
}
of_shared() {
	nm -D --defined-only "$1" | sed -n 's/^[0-9a-f]* [^A] \(.*\)@@RNGCLIENT_0$/\1/p' | sort
}
# Whatever it defines of whatever type, and whatever its version.
of_shared_all() {
	nm -D --defined-only "$1" | sed 's/.* //; s/@.*//; /^RNGCLIENT_0$/d' | sort
}
of_archive() {
	nm -g --defined-only "$1" | sed -n 's/^[0-9a-f]* . //p' | sort
}
# What the compiler saw declared there, and not in what they include.
of_headers() {
	# shellcheck disable=SC2086 # words
	(cd "$1" && printf '#include "%s"\n' $HEADERS >"$TMP/all.c" &&
		"$cc" -I. -fsyntax-only -aux-info "$TMP/all.x" "$TMP/all.c") || fail "the headers do not compile"
	sed -n 's|^/\* \./rngclient[a-z_]*\.h:.*[ *]\([a-z_0-9]*\) (.*|\1|p' "$TMP/all.x" | sort
}

map=$(of_map "$ROOT/client/librngclient.map")
[ -n "$map" ] || fail "the map exports nothing"
[ -z "$(uniq -d <<<"$map")" ] || fail "a name stands twice in the map"
# alike PLACE NAMES
alike() {
	[ "$map" = "$2" ] || fail "the map and $1 differ: $(diff <(echo "$map") <(echo "$2"))"
}
alike "the shared library" "$(of_shared "$BUILD/librngclient.so")"
alike "all that is in it" "$(of_shared_all "$BUILD/librngclient.so")"
alike "the headers" "$(of_headers "$ROOT/client")"
# A sanitizer has names of its own in every object.
[ -n "$SAN" ] || alike "the archive" "$(of_archive "$BUILD/librngclient.a")"

for name in $map; do
	grep -qw "$name" "$ROOT"/tests/*.c || fail "no test calls $name"
done

# It would be seen: one more here, one less there.
mkdir "$TMP/headers"
more() {
	for header in $HEADERS; do
		sed "$1" "$ROOT/client/$header" >"$TMP/headers/$header"
	done
	of_headers "$TMP/headers"
}
[ "$(more '/^const char \*rngclient_version(void);/d')" = "$(grep -vx rngclient_version <<<"$map")" ] ||
	fail "a declaration that went is not missed"
[ "$(more 's/^void rngclient_close(.*/& const char *rngclient_zzz(void);/')" = "$map"$'\n'rngclient_zzz ] ||
	fail "a declaration that came is not seen"

# ---------------------------------------------------------------- the headers alone
strict='-pedantic -Wall -Wextra -Wundef -Werror -fsyntax-only'
# included COMPILER LANGUAGE OPTION... - each alone, all, and twice.
included() {
	local compiler=$1 language=$2 headers
	shift 2
	for headers in rngclient.h rngclient_local.h rngclient_fd.h "$HEADERS" "rngclient_fd.h rngclient_local.h rngclient.h" \
		"$HEADERS $HEADERS"; do
		# shellcheck disable=SC2086 # words
		printf '#include <%s>\n' $headers |
			"$compiler" -x "$language" $strict "$@" -I"$ROOT/client" - 2>"$TMP/err" ||
			fail "$compiler $*: $headers: $(cat "$TMP/err")"
	done
}
compilers=0
for compiler in gcc clang; do
	command -v $compiler >/dev/null || continue
	# C89 has no stdint.h of its own; every system that has rngd does.
	for std in c89 c99 c11 gnu17 c2x; do
		included $compiler c -std=$std -Wc++-compat -Wstrict-prototypes
	done
	compilers=$((compilers + 1))
done
for compiler in g++ clang++; do
	command -v $compiler >/dev/null || continue
	for std in c++98 c++11 c++17 c++20; do
		included $compiler c++ -std=$std -Wold-style-cast
	done
	compilers=$((compilers + 1))
done
cxx=$(command -v g++ || command -v c++) || skip "no C++ compiler for the headers"

# To C++ they are the same functions: a program that names each links, and runs.
{
	printf '#include <%s>\n' $HEADERS stdio.h
	echo 'int main() { const void *all[] = {'
	# shellcheck disable=SC2086 # words
	printf 'reinterpret_cast<const void *>(&%s),\n' $map
	echo '}; std::printf("%zu %s\n", sizeof(all) / sizeof(all[0]), rngclient_version()); }'
} | sed 's/<stdio.h>/<cstdio>/' >"$TMP/all.cc"
# shellcheck disable=SC2086 # words
"$cxx" -std=c++11 ${SAN:+-fsanitize=$SAN} -I"$ROOT/client" -o "$TMP/all" "$TMP/all.cc" -L"$BUILD" -lrngclient \
	-Wl,-rpath,"$BUILD" || fail "the functions are not there for C++"
[ "$("$TMP/all")" = "$(wc -l <<<"$map") $(sed -n 's/^VERSION = //p' "$ROOT/Makefile")" ] || fail "C++: $("$TMP/all")"

# A result that must be looked at is.
echo '#include <rngclient.h>
void f(struct rngclient *rng, void *key) { rngclient_get(rng, key, 32); }' >"$TMP/careless.c"
! "$cc" -Werror -c -o "$TMP/careless.o" -I"$ROOT/client" "$TMP/careless.c" 2>"$TMP/err" || fail "who looks at no result is not warned"
grep -q 'unused' "$TMP/err" || fail "$(cat "$TMP/err")"
note "$(wc -l <<<"$map") functions, headers read by $compilers compilers"

#!/bin/bash
# rngclient.hpp: built by each compiler and for each standard that there is, without a warning; numbers, errors,
# forks, and none of a daemon that is gone.
set -u
. "$(dirname "$0")/lib.sh"
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip "/dev/shm is no tmpfs to publish a page on"
command -v g++ >/dev/null || skip "g++ is missing"

flags=(-O1 -Wall -Wextra -Wpedantic -Wconversion -Werror -I"$ROOT/client")
[ -z "$SAN" ] || flags+=("-fsanitize=$SAN")

# compile NAME COMPILER SOURCE [OPTION...]
compile() {
	local name=$1 compiler=$2 source=$3
	shift 3
	"$compiler" "${flags[@]}" "$@" -o "$TMP/$name" "$ROOT/tests/cpp/$source" "$BUILD/librngclient.a" -lpthread \
		>"$TMP/compiled" 2>&1 || fail "$compiler $* $source: $(head -n 20 "$TMP/compiled")"
}

start_with_end() {
	start_rngd
	"$TMP/$1" "$SOCK" >"$TMP/out" 2>&1 || fail "$1: $(cat "$TMP/out")"
	"$TMP/$1" "$SOCK" "$RNGD_PID" >"$TMP/end" 2>&1 || fail "$1, and the daemon's end: $(cat "$TMP/end")"
	wait "$RNGD_PID" || fail "rngd ended with status $?"
	RNGD_PID=
}

# ---------------------------------------------------------------- every compiler there is
compile cxx17 g++ generator.cc -std=c++17
compile cxx20 g++ generator.cc -std=c++20
compile no_rtti g++ generator.cc -std=c++17 -fno-rtti
compile no_exceptions g++ no_exceptions.cc -std=c++17 -fno-exceptions -fno-rtti
programs='cxx17 cxx20 no_rtti'
with=g++
# The archive's sanitizer is gcc's, which clang has not.
if [ -z "$SAN" ] && command -v clang++ >/dev/null; then
	compile clang17 clang++ generator.cc -std=c++17
	compile clang20 clang++ generator.cc -std=c++20
	programs+=' clang17 clang20'
	with+=', clang++'
fi
for program in $programs; do
	start_with_end "$program"
done

# ---------------------------------------------------------------- without exceptions
start_rngd
one=$("$TMP/no_exceptions" "$SOCK") || fail "no_exceptions: status $?"
[ "$one" != "$("$TMP/no_exceptions" "$SOCK")" ] || fail "twice $one"
stop_rngd
("$TMP/no_exceptions" "$SOCK" >"$TMP/out"; exit $?) 2>/dev/null
[ $? -eq 134 ] || fail "without a daemon and without exceptions it is not aborted"
[ ! -s "$TMP/out" ] || fail "without a daemon it has a number: $(cat "$TMP/out")"
note "$with"

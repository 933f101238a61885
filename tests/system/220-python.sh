#!/bin/bash
# The Python module: its declarations against the header's, its numbers, forks, threads, clones and errors, with a
# daemon of its own (tests/python/test_rngclient.py); its types (mypy --strict).
set -u
. "$(dirname "$0")/lib.sh"
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || skip "/dev/shm is no tmpfs to publish a page on"
# The system's, whatever version manager is in PATH: it is the one that make installs.
python=${PYTHON:-/usr/bin/python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || skip "there is no Python from 3.9 on ($python)"

export RNGD_SOCKET=$SOCK RNGCLI RNGD_INCLUDE=$ROOT/client RNGD_LAYOUT=$TMP/layout
export PYTHONPATH=$ROOT/client/python:$ROOT/tests/python PYTHONDONTWRITEBYTECODE=1 LD_LIBRARY_PATH=$BUILD
gcc -I"$ROOT/client" -o "$TMP/layout.bin" "$ROOT/tests/python/layout.c" || fail "layout.c does not build"
"$TMP/layout.bin" >"$RNGD_LAYOUT" || fail "layout: status $?"
mkdir "$TMP/no_library" "$TMP/old_library"
: >"$TMP/no_library/librngclient.so.0"
gcc -shared -x c -o "$TMP/old_library/librngclient.so.0" - <<<'int rngclient_open(void) { return -1; }' ||
	fail "no old library"

preload=()
if [ "$SAN" = address ]; then # must be there before the library is
	preload=(env LD_PRELOAD="$(gcc -print-file-name=libasan.so)")
fi
# tests NAME...
tests() {
	RNGD_PID=$RNGD_PID "${preload[@]}" "$python" -W error -W 'ignore:This process' -m unittest "$@" \
		>"$TMP/out" 2>&1 || fail "$(cat "$TMP/out")"
}

start_rngd
tests test_rngclient.{Declarations,Numbers,RandomClass,Forks,Threads,Clones,Epochs,Processes}
ran=$(grep -o '^Ran [0-9]* tests' "$TMP/out")
tests test_rngclient.Gone
wait "$RNGD_PID" || fail "rngd ended with status $?"
RNGD_PID=

if command -v mypy >/dev/null; then
	said=$(cd "$ROOT/client/python" && mypy --strict --cache-dir="$TMP/mypy" rngclient 2>&1) ||
		fail "mypy --strict: $said"
	note "$ran; mypy --strict: $(grep -o 'no issues' <<<"$said")"
else
	note "$ran; without mypy"
fi

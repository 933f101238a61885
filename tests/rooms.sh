#!/bin/bash
# rooms.sh - the rules of doc/architecture.md that a grep can check. Prints each breach; exit 1 when any.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
breach() {
	echo "rooms: $*"
	bad=1
}

# room:rooms it may include from, besides its own
rules=(
	'crypto:'
	'host:'
	'proto:'
	'client:proto crypto host'
	'seccomp:'
	'daemon:proto crypto host seccomp'
)
for rule in "${rules[@]}"; do
	room=${rule%%:*}
	allowed=" $room ${rule#*:} "
	while IFS=: read -r file _ include; do
		from=$(sed 's/.*"\([^"]*\)".*/\1/' <<<"$include")
		case $from in
		*/*) ;;
		*) breach "$file: \"$from\" does not name its room" ;;
		esac
		case $allowed in
		*" ${from%%/*} "*) ;;
		*) breach "$file: room $room must not include \"$from\"" ;;
		esac
	done < <(grep -n '^#[[:space:]]*include[[:space:]]*"' "$room"/*.[ch])
done

# only PATTERN WHERE... - the header may be included in these files alone
only() {
	local header=$1 file place allowed
	shift
	for file in $(grep -lE "^#[[:space:]]*include[[:space:]]*<$header" ./*/*.[ch] | sed 's|^\./||'); do
		case $file in tests/*) continue ;; esac
		allowed=no
		for place in "$@"; do
			# shellcheck disable=SC2053
			[[ $file == $place ]] && allowed=yes
		done
		[ $allowed = yes ] || breach "$file: <$header> belongs in $*"
	done
}
only 'ev\.h' 'daemon/server.*' 'daemon/conn.*' 'daemon/peers.*' 'daemon/epoch_watch.*' \
	'daemon/announce.*' 'daemon/unread.*' 'daemon/loop.*' 'daemon/accept.*'
only 'systemd/' 'daemon/service.c'
only 'seccomp\.h' 'seccomp/sandbox.c'
only 'sodium\.h' 'daemon/hash.c' 'daemon/main.c'

# rngcli is a user of the library like any other. One look at the kernel is its own: has it reseeded?
program='rngcli args cmd_[a-z]* control fields hook lines owes seed settle show size text'
for name in $program; do
	# shellcheck disable=SC2086 # a pattern
	grep -nH '^#[[:space:]]*include[[:space:]]*"' client/$name.[ch]
done | grep -vE '"client/(rngclient|rngcli|args|control|fields|hook|lines|owes|seed|settle|show|size|text)\.h"' |
	grep -v '^client/cmd_kernel\.c:[0-9]*:#include "host/vdso\.h"$' &&
	breach "rngcli uses rngclient.h alone, and cmd_kernel host/vdso.h"

# Files of at most 400 lines. Exempt: tables, vectors, SIMD kernels, and tests: a test file is a list of
# independent cases for one module, and one file per module is the stronger rule.
while read -r lines file; do
	case $file in
	total | crypto/chacha20_* | tests/*) continue ;;
	esac
	[ "$lines" -le 400 ] || breach "$file has $lines lines; 400 is the limit"
done < <(wc -l ./*/*.[ch] client/*.hpp client/python/*/*.py | sed 's|\./||')

for file in crypto/*.c host/*.c proto/*.c daemon/*.c seccomp/*.c client/*.c; do
	head -n 1 "$file" | grep -q '^/\*' || breach "$file does not open with what it owns"
done

for file in client/python/rngclient/*.py; do
	case $file in */__init__.py) continue ;; esac # says what the package is
	head -n 1 "$file" | grep -q '^"""Owns: ' || breach "$file does not open with what it owns"
done

# The C++ header is installed beside the public C headers and made of them alone; the Python package, of what comes
# with Python.
grep -nH '^#[[:space:]]*include[[:space:]]*"' client/*.hpp | grep -vE '"rngclient(_local)?\.h"$' &&
	breach "client/*.hpp includes the public headers alone, by their installed names"
python='__future__|contextlib|ctypes|errno|inspect|math|operator|os|random|select|sys|threading|types|typing'
grep -nHE '^[[:space:]]*(import|from)[[:space:]]' client/python/rngclient/*.py |
	grep -vE ":(import ($python)|from ($python|\._[a-z]+) import .*)\$" &&
	breach "the Python package imports what comes with Python alone"

# What is there to be copied must stand alone.
grep -n '^#[[:space:]]*include[[:space:]]*"' doc/examples/*.c && breach "examples include <rngclient.h> alone"
exit $bad

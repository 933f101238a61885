#!/bin/bash
# run.sh UNIT... - runs the unit tests named and every tests/system/*.sh against $BUILD, in two lanes where the
# machine has two processors (LANES= says otherwise). A line for each, when it has ended: result, name, seconds,
# remark; the last line counts. A unit test counts as its checks; a system test as one. Exit 1 when one failed.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:?the build directory}"
export BUILD DAEMON_BUILD=${DAEMON_BUILD:-$BUILD} SAN=${SAN:-}
LIMIT_S=400
LANES=${LANES:-$(($(nproc) > 1 ? 2 : 1))}

# Of these no two run at a time, whatever the lanes; one lane has them, in this order. First those with the narrowest
# bounds on time: what runs beside them meanwhile is light. Then those that make the kernel reseed, set its clock
# or write to its log, together with those that count to the last one how often a daemon reseeded.
APART="140-hostile-clients 170-stop-and-continue 160-kill-storm
	check_rngclient check_rngclient:fallback check_rngclient_clone check_rngclient_clone:fallback
	check_clone check_epoch_clock check_epoch_kernel check_epoch_kmsg check_vdso
	010-start-stop 040-reseed-failure 039-rngcli-kernel-reseed 100-clone-detectors 110-epoch-page
	130-detector-cost"

# The filter leaves no room for the leak checker's helper in the daemon; the unit tests have it.
export ASAN_OPTIONS=abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1
# The library's own 4 s would end tests on a busy machine whose waits have bounds of up to 20 s.
export CK_DEFAULT_TIMEOUT=30

# say RESULT NAME SECONDS REMARK
say() {
	printf '%-6s %-36s %5s  %s\n' "$@" | sed 's/ *$//'
}

# limited COMMAND... - runs it within the limit; its output goes to $log, its status is returned, and
# $took is how long it ran. In the background, so that a signal to the lane is heard at once.
limited() {
	local begin_us=${EPOCHREALTIME/[.,]/} tenths status
	timeout "$LIMIT_S" "$@" >"$log" 2>&1 &
	child=$!
	wait "$child"
	status=$?
	child=
	tenths=$(((${EPOCHREALTIME/[.,]/} - begin_us) / 100000))
	took=$((tenths / 10)).$((tenths % 10))
	return "$status"
}

# unit NAME[:fallback] - its lines to standard output, what it counts to $counts.
unit() {
	local build=$BUILD daemon=$DAEMON_BUILD line checks fails errors status
	[ "$1" = "${1%:fallback}" ] || build=$BUILD/fallback daemon=$BUILD/fallback
	DAEMON_BUILD=$daemon limited "$build/tests/${1%:fallback}"
	status=$?
	line=$(grep -E '^[0-9]+%: Checks: ' "$log" | tail -n 1)
	if [[ $line =~ Checks:\ ([0-9]+),\ Failures:\ ([0-9]+),\ Errors:\ ([0-9]+) ]]; then
		checks=${BASH_REMATCH[1]} fails=${BASH_REMATCH[2]} errors=${BASH_REMATCH[3]}
	else
		checks=1 fails=0 errors=1
	fi
	grep '^SKIP:' "$log" | while read -r line; do say skip "$1" '' "${line#SKIP: }"; done
	if [ "$status" -ne 0 ] && [ $((fails + errors)) -eq 0 ]; then
		errors=1
	fi
	echo "$((checks - fails - errors)) $((fails + errors)) $(grep -c '^SKIP:' "$log")" >>"$counts"
	if [ $((fails + errors)) -eq 0 ]; then
		say ok "$1" "$took" "$checks checks"
	else
		say FAIL "$1" "$took" "status $status"
		sed 's/^/       | /' "$log"
	fi
}

# system NAME - likewise.
system() {
	local status
	limited bash "tests/system/$1.sh"
	status=$?
	case $status in
	0)
		echo 1 0 0 >>"$counts"
		say ok "$1" "$took" "$(grep '^NOTE: ' "$log" | tail -n 1 | cut -c 7-)"
		;;
	77)
		echo 0 0 1 >>"$counts"
		say skip "$1" "$took" "$(sed -n 's/^SKIP: //p' "$log")"
		;;
	*)
		echo 0 1 0 >>"$counts"
		say FAIL "$1" "$took" "status $status"
		sed 's/^/       | /' "$log"
		;;
	esac
}

# lane NUMBER TEST... - runs those of them that no other lane has begun. What a test has to say comes in one piece.
lane() {
	local log=$work/log.$1 counts=$work/counts.$1 child='' took name
	trap '[ -z "$child" ] || { kill "$child" && wait "$child"; }; exit 143' TERM
	shift
	for name in "$@"; do
		mkdir "$work/begun.$name" 2>/dev/null || continue
		case $name in
		check_*) unit "$name" ;;
		*) system "$name" ;;
		esac >"$log.said"
		flock "$work/says" cat "$log.said"
	done
}

tests=("$@")
if [ -z "${ONLY_UNITS:-}" ]; then
	for path in tests/system/[0-9]*.sh; do
		tests+=("$(basename "$path" .sh)")
	done
fi
# among NAME LIST - whether it is one of these.
among() {
	case " ${2//[[:space:]]/ } " in
	*" $1 "*) return 0 ;;
	*) return 1 ;;
	esac
}
apart=() others=()
for name in $APART; do
	! among "$name" "${tests[*]}" || apart+=("$name")
done
for name in "${tests[@]}"; do
	among "$name" "$APART" || others+=("$name")
done

work=$(mktemp -d)
lanes=()
# Whoever stops this stops the lanes, and what they run.
end() {
	[ ${#lanes[@]} -eq 0 ] || { kill "${lanes[@]}" && wait "${lanes[@]}"; } 2>/dev/null
	rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
for ((n = 1; n <= LANES; n++)); do
	if [ "$LANES" -eq 1 ]; then
		lane 1 "${tests[@]}" &
	elif [ $n -eq 1 ]; then
		lane 1 "${apart[@]}" "${others[@]}" &
	else
		lane $n "${others[@]}" &
	fi
	lanes+=($!)
done
wait "${lanes[@]}"
lanes=()

passed=0 failed=0 skipped=0 ended=0
while read -r p f s; do
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s)) ended=$((ended + 1))
done < <(cat "$work"/counts.*)
if [ "$ended" -ne ${#tests[@]} ]; then
	say FAIL lanes '' "$ended of ${#tests[@]} tests came to their end"
	failed=$((failed + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

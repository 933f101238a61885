#!/bin/bash
# run.sh short|full [NAME...] - clones virtual machines and looks whether rngd noticed, and whether siblings were
# ever given the same bytes. short: a pair of clones on each kernel. full: every line of tests/vm/scenarios.
# With names: those scenarios alone. Exit 0 all as expected, 1 not, 77 cannot be run here. The last line counts.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/vm/lib.sh
. tests/vm/clone.sh

MODE=${1:-short}
shift
WINDOW_S=${WINDOW_S:-3}
AT_ONCE=${AT_ONCE:-2}
RUN=$VM/run
passed=0 failed=0 skipped=0

case $MODE in
short | full) ;;
*)
	echo "usage: run.sh short|full [NAME...]" >&2
	exit 2
	;;
esac
[ -z "${SAN:-}" ] || skip "a sanitizer's build does not run in the virtual machines"

# A second run in the same directory would take the first one's machines away.
mkdir -p "$VM" && exec 9>"$VM/lock" || exit 1
flock -w 120 9 || fail "another run has held $VM/lock for two minutes"

cleanup() {
	vm_end_all
	[ -n "${KEEP:-}" ] || rm -rf "$RUN"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

# able OPTIONS AFTER - whether this build has what the scenario uses; says what it lacks.
able() {
	local word
	for word in $1; do
		case $word in
		--*) "$BUILD/rngd" --help | grep -q -e "${word%%=*}" || { echo "rngd has no ${word%%=*}" && return 1; } ;;
		esac
	done
	for word in bump settle kernel-reseed; do
		[[ $2 != *$word* ]] || "$BUILD/rngcli" --help | grep -q -e "$word" || { echo "rngcli has no $word" && return 1; }
	done
	return 0
}

# The snapshot that a scenario starts from; scenarios that differ only in what comes after it share one.
snapshot_for() {
	local kernel=$1 cpu=$2 options=$3 before=$4 key dir
	key=$(printf '%s ' "$kernel" "$cpu" "$options" "$before" | tr -c 'a-z0-9.\n' -)
	dir=$RUN/snapshot-$key
	SNAPSHOT=$dir
	[ -e "$dir/done" ] && return
	vm_snapshot "$dir" "$kernel" "$cpu" "${before//OPTIONS/$options}" && touch "$dir/done" && return
	vm_end_all
	return 1
}

# Siblings FIRST to LAST of SNAPSHOT, side by side, until each has reported.
run_batch() {
	local first=$1 last=$2 kernel=$3 cpu=$4 guid=$5 after=$6 n dir dirs=() command
	for ((n = first; n <= last; n++)); do
		dir=$RUN/sibling-$n
		dirs+=("$dir")
		vm_sibling "$dir" "$SNAPSHOT" "$kernel" "$cpu" "$(guid_of "$guid" "$n")" || return 1
	done
	for dir in "${dirs[@]}"; do
		vm_qmp "$dir" '"execute":"cont"' || return 1
	done
	while read -r command; do
		[ -z "$command" ] || vm_tell "$command" "${dirs[@]}" || return 1
	done <<<"${after//;/$'\n'}"
	# What is measured is what happens in this time: there is no condition to wait for.
	sleep "$WINDOW_S"
	vm_tell report "${dirs[@]}" || return 1
	for dir in "${dirs[@]}"; do
		vm_quit "$dir"
		rm -f "$dir/disk.qcow2"
	done
}

guid_of() {
	case $1 in
	differs) printf '22222222-0000-4000-8000-%012x' "$2" ;;
	same) echo 11111111-0000-4000-8000-000000000000 ;;
	esac
}

figure() {
	sed -n "s/^$1=//p" "$RUN/result"
}

row() {
	printf '%-30s %-7s %3s %6s %7s %9s %7s %11s %11s %11s %11s %11s\n' "$@"
}

# scenario NAME KERNEL CPU GUID CLONES OPTIONS BEFORE AFTER BYTES PAGE ACTS
scenario() {
	local name=$1 kernel=$2 cpu=$3 guid=$4 clones=$5 options=$6 before=$7 after=$8 bytes=$9 page=${10} acts=${11}
	local lacks first last n verdict files=()
	if ! lacks=$(able "$options" "$after"); then
		skipped=$((skipped + 1))
		row "$name" skip '' '' '' '' '' '' '' '' '' ''
		echo "  SKIP: $lacks"
		return
	fi
	if ! snapshot_for "$kernel" "$cpu" "$options" "$before"; then
		failed=$((failed + 1))
		row "$name" FAIL '' '' '' '' '' '' '' '' '' ''
		echo "  no snapshot could be taken"
		return
	fi
	for ((first = 1; first <= clones; first += AT_ONCE)); do
		last=$((first + AT_ONCE - 1 < clones ? first + AT_ONCE - 1 : clones))
		if ! run_batch "$first" "$last" "$kernel" "$cpu" "$guid" "$after"; then
			vm_end_all
			failed=$((failed + 1))
			row "$name" FAIL '' '' '' '' '' '' '' '' '' ''
			echo "  siblings $first to $last did not run to their end"
			return
		fi
	done
	for ((n = 1; n <= clones; n++)); do
		files+=("$RUN/sibling-$n/out")
	done
	awk -v bytes="$bytes" -v page="$page" -v acts="$acts" \
		-v tally="$(fold -w1 "$SNAPSHOT/tally" | sort | uniq -c | tr '\n' ' ')" \
		-f tests/vm/analyse.awk -f tests/vm/acts.awk -f tests/vm/draws.awk "${files[@]}" >"$RUN/result" 2>&1
	verdict=$(figure verdict)
	[ "$verdict" = ok ] && passed=$((passed + 1)) || failed=$((failed + 1))
	row "$name" "$([ "$verdict" = ok ] && echo ok || echo FAIL)" "$clones" "$(figure requests)" "$(figure blocks)" \
		"$(figure in_flight)/$(figure in_flight_repeats)" "$(figure repeats)" "$(figure repeats_until_ms)" \
		"$(figure kernel_repeats_until_ms)" "$(figure guid_ms)" "$(figure kernel_ms)" "$(figure page_ms)"
	[ "$verdict" = ok ] || echo "  ${verdict:-the analysis failed: $(head -n 1 "$RUN/result")}"
	echo "  noticed by $(figure noticed_by); kernel's line to page $(figure kernel_to_page_ms) ms;" \
		"last reseed $(figure last_reseed); errors $(figure errors)"
	[ -z "$(figure acts)" ] || echo "  $(figure acts)"
	[ -z "${KEEP:-}" ] || cp "$RUN/result" "$RUN/result-$name"
	for ((n = 1; n <= clones; n++)); do
		if [ -n "${KEEP:-}" ]; then
			rm -rf "$RUN/$name-$n" && mv "$RUN/sibling-$n" "$RUN/$name-$n"
		else
			rm -rf "$RUN/sibling-$n"
		fi
	done
}

wanted() {
	local name=$1 modes=$2 word
	shift 2
	if [ $# -gt 0 ]; then
		for word in "$@"; do
			# shellcheck disable=SC2053 # a pattern on purpose
			[[ $name == $word ]] && return
		done
		return 1
	fi
	[[ ,$modes, == *,$MODE,* ]]
}

bash tests/vm/fetch.sh || exit
# shellcheck disable=SC2086 # a list of names
bash tests/vm/image.sh $KERNELS || exit
start=$SECONDS
rm -rf "$RUN"
mkdir -p "$RUN"
for kernel in $KERNELS; do
	echo "$kernel: $(cat "$VM/kernels/$kernel/package")"
done
cat <<-END
	Times are in ms since the resume, the least and the most over the siblings. inflight: requests under way at the
	snapshot / blocks of theirs that came twice. repeats: 16-byte blocks given out twice to requests begun after the
	resume, repeats_ms: until when. kernel_eq: until when getrandom(2) was the same in siblings. When what could be
	seen: guid the ID in /sys, kernel its line in the log, page the epoch page.
END
row scenario result vms reqs blocks inflight repeats repeats_ms kernel_eq guid_ms kernel_ms page_ms
while IFS='|' read -r modes name kernel cpu guid clones options before after bytes page acts; do
	wanted "$name" "$modes" "$@" || continue
	[ "$MODE" = full ] || clones=2
	scenario "$name" "$kernel" "$cpu" "$guid" "$clones" "$options" "$before" "$after" "$bytes" "$page" "$acts" </dev/null
done < <(sed -e '/^#/d' -e '/^[[:space:]]*$/d' -e 's/[[:space:]]*|[[:space:]]*/|/g' -e 's/[[:space:]]*$//' tests/vm/scenarios)
[ $((passed + failed)) -gt 0 ] || skip "no scenario could be run"
echo "NOTE: VM clones: $passed scenarios as expected, $failed not, $skipped skipped, $((SECONDS - start)) s"
[ "$failed" -eq 0 ]

#!/bin/bash
# run.sh [STEP...] - boots Debian 12 with systemd under QEMU's software emulation, `make install`ed rngd in it, and
# shows the service at work: started, used, killed, stopped, broken, and cloned with the machine it runs in. Needs
# $BUILD; what is fetched goes to $BUILD/vm and $BUILD/boot. With names of steps (functions of tests/boot/steps): those
# alone, without clones. SHOW=1 prints what the units, the journal and systemd-analyze say as well; it
# is in $BUILD/boot/log anyhow. Exit 0 all as expected, 1 not, 77 cannot be run here. The last line counts.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/vm/lib.sh
. tests/vm/clone.sh

KERNEL=generic-6.1
BEFORE=(install start user privilege detectors page shown activation reload bump restart enable security)
AFTER=(kills watchdog stop broken journal)
BOOT=$BUILD/boot
RUN=$BOOT/run
LOG=$BOOT/log
VM_MEMORY_MB=512
# Hours and minutes of a machine that has hung, not of one that is slow: a step ends when it has what it waits for.
VM_LIMIT_S=7200
VM_WAIT_S=1800
passed=0 failed=0 skipped=0
began=$SECONDS

[ -z "${SAN:-}" ] || skip "a sanitizer's build does not run in the virtual machine"
mkdir -p "$BOOT" && exec 9>"$BOOT/lock" || exit 1
flock -w 300 9 || fail "another run has held $BOOT/lock for five minutes"

cleanup() {
	vm_end_all
	[ -n "${KEEP:-}" ] || rm -rf "$RUN" "$BOOT/root.cpio"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

# The last of two equal options is what QEMU takes. The kernel does not test its timer, which fails where the
# emulation is not given a processor for a tenth of a second.
start() {
	vm_start "$1" "$KERNEL" plain "$2" -initrd "$BOOT/root.cpio" \
		-append "console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable mitigations=off no_timer_check \
rdinit=/usr/lib/systemd/systemd systemd.show_status=0" "${@:3}"
}

count() {
	case $1 in
	ok) passed=$((passed + 1)) ;;
	SKIP) skipped=$((skipped + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
}

# judge NAME WRONG WHAT - a verdict of the host's own; WRONG is empty if all is well.
judge() {
	local word=ok
	[ -z "$2" ] || word=FAIL
	count $word
	printf '%-4s %-12s %s\n' $word "$1" "$3${2:+: $2}" | tee -a "$LOG"
}

# step DIRECTORY NAME - has the machine do it, prints its verdict; 1 when there is none.
step() {
	local dir=$1 name=$2 seen verdict word begun=$SECONDS
	seen=$(wc -l <"$dir/out")
	vm_tell "step $name" "$dir" 2>"$RUN/error"
	tail -n +$((seen + 1)) "$dir/out" >"$RUN/answer"
	grep '^|' "$RUN/answer" >"$RUN/text"
	verdict=$(grep -E "^(ok|FAIL|SKIP) $name: " "$RUN/answer" | tail -n 1)
	word=${verdict%% *}
	if [ -z "$verdict" ]; then
		word=FAIL
		verdict="FAIL $name: no answer: $(tail -n 1 "$RUN/error")"
	fi
	count "$word"
	printf '%-4s %-12s %s [%d s]\n' "$word" "$name" "${verdict#*: }" $((SECONDS - begun)) | tee -a "$LOG"
	cat "$RUN/text" >>"$LOG"
	if [ -n "${SHOW:-}" ] || [ "$word" = FAIL ]; then
		cat "$RUN/text"
	fi
	vm_alive "$dir" && grep -q '^DONE' "$RUN/answer"
}

steps() {
	local dir=$1 name
	shift
	for name in "$@"; do
		step "$dir" "$name" || { judge machine "no answer any more" "$(tail -n 1 "$dir/con" | tr -d '\r')" && return 1; }
	done
}

boot() {
	local dir=$RUN/first begun=$SECONDS
	mkdir -p "$dir" && qemu_img create -q -f qcow2 "$dir/disk.qcow2" 1G || fail "cannot make $dir/disk.qcow2"
	start "$dir" 11111111-0000-4000-8000-000000000000 || fail "QEMU does not start: $(head -n 1 "$dir/qmp.log")"
	if ! vm_until "$dir" out '^UP'; then
		tail -n 20 "$dir/con"
		fail "systemd did not come up"
	fi
	judge boot '' "$(sed -n 's/^UP //p' "$dir/out"), up after $((SECONDS - begun)) s"
}

# value DIRECTORY NAME - what that machine told the host.
value() {
	sed -n "s/^= $2 //p" "$1/out" | tail -n 1
}

# Two siblings of the machine; the first lives on.
clone() {
	local first=$RUN/first one=$RUN/one two=$RUN/two dir wrong='' begun=$SECONDS number=0
	step "$first" mark || return 1
	vm_qmp "$first" '"execute":"stop"' && vm_monitor "$first" "savevm s1" || return 1
	vm_quit "$first"
	for dir in "$one" "$two"; do
		number=$((number + 1))
		mkdir -p "$dir" && cp --reflink=auto "$first/disk.qcow2" "$dir/disk.qcow2" || return 1
		start "$dir" "$number$number$number$number$number$number$number$number-aaaa-4000-8000-000000000000" -loadvm s1 -S || return 1
		VM_DONE[$dir]=$(grep -c '^DONE' "$first/out")
	done
	rm -rf "$first"
	for dir in "$one" "$two"; do
		vm_qmp "$dir" '"execute":"cont"' || return 1
	done
	for dir in "$one" "$two"; do
		step "$dir" cloned || return 1
	done
	[ "$(value "$one" bytes)" != "$(value "$two" bytes)" ] || wrong="siblings got the same bytes; "
	[ "$(value "$one" id)" != "$(value "$two" id)" ] || wrong+="siblings have the same event id; "
	judge siblings "$wrong" "rngcli 32: $(value "$one" bytes | cut -c 1-16)... and $(value "$two" bytes | cut -c 1-16)...; \
words $(value "$one" page) and $(value "$two" page); snapshot, siblings and steps took $((SECONDS - begun)) s"
	vm_quit "$two"
	rm -rf "$two"
}

command -v apt-get >/dev/null 2>&1 || skip "the root is made from Debian's packages, and there is no apt-get"
[ -e "$BUILD/rngd" ] || fail "$BUILD/rngd is not built: run make first"
bash tests/vm/fetch.sh || exit
bash tests/boot/root.sh "$KERNEL" || exit
rm -rf "$RUN"
mkdir -p "$RUN"
: >"$LOG"
boot
if [ $# -gt 0 ]; then
	steps "$RUN/first" "$@"
elif ! steps "$RUN/first" "${BEFORE[@]}"; then
	:
elif ! clone; then
	judge clone "the machine could not be cloned" "$(tail -n 1 "$RUN"/*/qmp.log | cut -c 1-200)"
else
	steps "$RUN/one" "${AFTER[@]}"
fi
echo "NOTE: Debian 12 booted with systemd: $passed as expected, $failed not, $skipped skipped, $((SECONDS - began)) s"
[ "$failed" -eq 0 ]

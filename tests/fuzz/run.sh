#!/bin/bash
# run.sh smoke | long SECONDS [TARGET...] | runs COUNT [TARGET...] - builds the fuzz targets with clang, runs each
# over the inputs that are kept, then fuzzes it: for about a minute in all, for SECONDS each, or COUNT times
# each. Prints what each did and which lines of the product it reached; the last line counts. Exit 1 when a
# target crashed or did not build.
#
# BUILD: where things are made (default build). What long runs find new stays in $BUILD/fuzz/found/TARGET, and
# an input that crashes in $BUILD/fuzz/crash/TARGET-*; run one with $BUILD/fuzz/TARGET FILE. FUZZ_FLAGS go to
# libFuzzer, FUZZ_CFLAGS to the compiler.
set -u
cd "$(dirname "$0")/../.." || exit 1
usage='usage: run.sh smoke | long SECONDS [TARGET...] | runs COUNT [TARGET...]'
case ${1:-} in
smoke) limit=-max_total_time=${FUZZ_SECONDS:-3} && shift ;;
long) limit=-max_total_time=${2:?$usage} && shift 2 ;;
runs) limit=-runs=${2:?$usage} && shift 2 ;;
*) echo "$usage" >&2 && exit 2 ;;
esac
CLANG=${CLANG:-clang}
out=${BUILD:-build}/fuzz
mkdir -p "$out/found" "$out/crash" || exit 1
passed=0 failed=0 skipped=0

# A run frees some kB, so this much outlasts hundreds of them, and memory goes back to the kernel at the end.
# With what is usual, clearing pages takes a quarter of the server's time.
export ASAN_OPTIONS=quarantine_size_mb=4:allocator_release_to_os_interval_ms=-1${ASAN_OPTIONS:+:$ASAN_OPTIONS}

# files: of the product, and what the table is about. also: what else is linked. calls: replaced by the
# target's own. longest: an input, in bytes.
targets=(server client events kmsg vmgenid vmclock page size status)
[ $# -eq 0 ] || targets=("$@")
recipe() {
	calls='' also='' longest=4096
	case $1 in
	server)
		files='daemon/conn.c daemon/batch.c daemon/outgoing.c daemon/answer.c daemon/request.c daemon/events.c
			daemon/parting.c proto/wire.c'
		also='host/secmem.c daemon/quota.c daemon/deadline.c daemon/unread.c daemon/text.c proto/epoch_page.c'
		calls='recvmsg send sendmsg getsockopt close clock_gettime'
		longest=4500
		;;
	client)
		files='client/rngclient.c client/errand.c client/session.c client/guard.c client/page.c
			client/reply.c client/transport.c client/turn.c proto/wire.c proto/epoch_page.c'
		also='client/bare.c client/events.c client/subscription.c client/feed.c client/ledger.c client/shelf.c'
		calls='socket setsockopt connect shutdown fstat fstatfs fcntl mmap munmap madvise getpid close send
			recvmsg ppoll clock_gettime clock_nanosleep'
		longest=2048
		;;
	events)
		files='client/events.c client/subscription.c client/feed.c client/ledger.c client/shelf.c'
		also='client/bare.c client/rngclient.c client/errand.c client/session.c client/guard.c client/page.c
			client/reply.c client/transport.c client/turn.c host/vdso.c proto/wire.c proto/epoch_page.c'
		calls='socket setsockopt connect shutdown fstat close send recv ppoll epoll_create1 epoll_ctl
			timerfd_create timerfd_settime getrandom mmap munmap madvise getpid clock_gettime
			clock_nanosleep errand_run errand_prepare'
		;;
	kmsg) files='daemon/epoch_kmsg.c' calls='read close fcntl lseek' longest=16384 ;;
	vmgenid)
		files='daemon/epoch_vmgenid.c'
		also=host/secmem.c
		calls='pread close fstat clock_gettime'
		longest=512
		;;
	vmclock) files='daemon/epoch_vmclock.c host/vmclock.c' calls='close fstat mmap munmap pread poll' longest=1024 ;;
	page)
		files='proto/epoch_page.c daemon/epoch_file.c daemon/pagefile.c'
		calls='open close fstat fstatfs mmap munmap pread pwrite'
		longest=1024
		;;
	size) files='client/size.c' longest=128 ;;
	status)
		files='client/cmd_status.c client/fields.c client/show.c'
		also='client/lines.c client/size.c'
		calls='isatty calloc free'
		;;
	*) return 1 ;;
	esac
}

say() { printf '%-6s %-28s %s\n' "$1" "$2" "$3"; }
total() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}

probe=$(mktemp) || exit 1
log=$(mktemp) || exit 1
trap 'rm -f "$probe" "$log"' EXIT
if ! echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 1e9; }' |
	"$CLANG" -x c -fsanitize=fuzzer,address - -o "$probe" 2>/dev/null; then
	for target in "${targets[@]}"; do
		say skip "fuzz $target" "no $CLANG with libFuzzer here (Debian: clang, libclang-rt-dev)"
		skipped=$((skipped + 1))
	done
	total
fi

# build NAME FOR_THE_TARGET FLAG... - compiles and links one target, unless nothing changed since.
build() {
	local name=$1 own=$2 call wrap=''
	shift 2
	if [ -x "$out/$name" ] && [ -z "$(find client daemon host proto tests/fuzz -maxdepth 1 \
		-newer "$out/$name" -name '*.[chs]*' -print -quit)" ]; then
		return 0
	fi
	for call in $calls; do wrap="$wrap -Wl,--wrap=$call"; done
	local flags=(-std=gnu11 -I. -D_GNU_SOURCE '-DRNGD_VERSION="fuzz"' -O2 -g -fno-omit-frame-pointer
		-fno-strict-aliasing)
	# Lists of words on purpose.
	# shellcheck disable=SC2086
	"$CLANG" "${flags[@]}" $own -c -o "$out/$name.o" "tests/fuzz/fuzz_$target.c" &&
		"$CLANG" "${flags[@]}" "$@" -o "$out/$name" "$out/$name.o" $files $also $wrap
}

# The product has every check, but for that of null pointers: they end a run by themselves, and to ask at each
# access takes a sixth of the time. What the target itself compares is nothing to steer by.
build_both() {
	# shellcheck disable=SC2086
	build "$target" "-fsanitize=fuzzer-no-link,address -fno-sanitize-coverage=trace-cmp ${FUZZ_CFLAGS:-}" \
		-fsanitize=fuzzer,address,undefined -fno-sanitize=null -fno-sanitize-recover=all ${FUZZ_CFLAGS:-} &&
		build "$target-cov" '' -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping
}

# In the background: one target is built while the one before it runs.
start_build() {
	target=$1
	builder=
	recipe "$target" || return
	build_both &
	builder=$!
}

kept() { find "tests/fuzz/corpus/$target" -type f 2>/dev/null; }

# The share of lines, functions and branches of each file that the kept and the found inputs reach.
coverage() {
	local report
	if ! command -v llvm-profdata >/dev/null || ! command -v llvm-cov >/dev/null; then
		echo "       no llvm-cov here (Debian: llvm): coverage not measured"
		return
	fi
	LLVM_PROFILE_FILE=$out/$target.profraw "$out/$target-cov" -runs=0 "$out/found/$target" \
		"tests/fuzz/corpus/$target" >"$log" 2>&1 || cat "$log"
	llvm-profdata merge -sparse "$out/$target.profraw" -o "$out/$target.profdata" || return
	# shellcheck disable=SC2086
	report=$(llvm-cov report "$out/$target-cov" -instr-profile="$out/$target.profdata" $files) || return
	rm -f "$out/$target.profraw"
	awk '$1 ~ /\.c$/ { n = split($1, parts, "/"); printf "       | %-24s %5d lines %7s   branches %7s\n", \
		parts[n], $8, $10, $13 }' <<<"$report"
}

stat_of() { sed -n "s/^stat::$1: *//p" "$log"; }

# fuzz TARGET STATUS - what its build ended with.
fuzz() {
	local status edges
	target=$1
	if ! recipe "$target"; then
		say FAIL "fuzz $target" "no such target"
		return 1
	fi
	if [ "$2" -ne 0 ]; then
		say FAIL "fuzz $target" "does not build"
		return 1
	fi
	mkdir -p "$out/found/$target"
	# What was found once must not come back.
	kept | xargs -r "$out/$target" -artifact_prefix="$out/crash/$target-" >"$log" 2>&1
	status=$?
	if [ $status -eq 0 ]; then
		# shellcheck disable=SC2086
		"$out/$target" "$limit" -max_len=$longest -timeout=10 -rss_limit_mb=1024 \
			-print_final_stats=1 -artifact_prefix="$out/crash/$target-" \
			${FUZZ_FLAGS:-} "$out/found/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1
		status=$?
	fi
	if [ $status -ne 0 ]; then
		say FAIL "fuzz $target" "status $status"
		grep -vE '^#[0-9]+|^stat::' "$log" | tail -n 60 | sed 's/^/       | /'
		return 1
	fi
	edges=$(sed -n 's/^#.*DONE *cov: \([0-9]*\).*/\1/p' "$log")
	say ok "fuzz $target" "$(stat_of number_of_executed_units) runs, $(stat_of average_exec_per_sec) a second, \
$edges edges, $(stat_of new_units_added) new inputs, $(kept | wc -l) kept"
	coverage
}

start_build "${targets[0]}"
for ((i = 0; i < ${#targets[@]}; i++)); do
	built=1
	[ -z "$builder" ] || { wait "$builder" && built=0; }
	[ -z "${targets[i + 1]:-}" ] || start_build "${targets[i + 1]}"
	if fuzz "${targets[i]}" $built; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
done
total

#!/bin/bash
# What watching costs while nobody asks for anything: every detector there is on this machine is
# active, and the daemon's time on a processor is counted. The aim is 0.1 %; the limit leaves room for a
# machine that is busy. COST_SECONDS says how long.
set -u
. "$(dirname "$0")/lib.sh"

LONG_S=${COST_SECONDS:-10}
LIMIT_PPM=5000 # 0.5 %
STIR=$BUILD/tests/stir

[ -z "$SAN" ] || skip "a sanitizer has costs of its own"
[ -r /proc/self/schedstat ] || skip "this kernel does not count nanoseconds (no schedstat)"

# Nanoseconds on a processor, and how often it was put on one.
used() {
	awk -v field="$1" '{ print $field }' "/proc/$RNGD_PID/schedstat"
}

for file in vmgenid source; do
	head -c 4096 /dev/urandom >"$TMP/$file"
	chmod 644 "$TMP/$file"
done
"$STIR" vmclock "$TMP/vmclock" make || fail "no vmclock page"
start_rngd --vmgenid "$TMP/vmgenid" --epoch-source "$TMP/source" --vmclock "$TMP/vmclock"
active=$(for detector in vmgenid vmclock epoch_source kmsg kernel clock; do
	[ "$(status_value "detector.$detector.state")" = active ] && echo "$detector"
done | xargs)
case $active in
*vmgenid*vmclock*epoch_source*) ;;
*) fail "only $active" ;;
esac
# A clone first: until the kernel's own reseed was seen the daemon works more, a minute at most. That one may come
# just then, as it does once a minute: then another clone.
seen() {
	[ "$(status_value detector.vmgenid.cloned)" -eq "$clones" ]
}
awaited=no
for clones in 1 2 3; do
	aged=$(status_value detector.kernel.aged)
	"$STIR" add "$TMP/vmgenid" 0 >/dev/null
	wait_for 5 seen || fail "the clone is not seen"
	[ "$(status_value epoch.kernel_reseeded)" = false ] && awaited=yes && break
	[ "$(status_value detector.kernel.aged)" -gt "$aged" ] || break
	note "the kernel reseeded just then"
done
[ $awaited = yes ] || fail "no kernel reseed is awaited"

# The least of up to three: a hypervisor that stands while the daemon runs is no work of the daemon's.
measure() {
	local ns turns begin_ms elapsed_ms try
	for try in 1 2 3; do
		ns=$(used 1) turns=$(used 3)
		begin_ms=$(now_ms)
		sleep "$1"
		elapsed_ms=$(($(now_ms) - begin_ms))
		ppm=$((($(used 1) - ns) / elapsed_ms))
		turns=$((($(used 3) - turns) * 1000 / elapsed_ms))
		[ "$ppm" -gt 0 ] || fail "no time at all: this test proves nothing"
		[ "$ppm" -gt $LIMIT_PPM ] || break
		note "$ppm millionths of a processor, the $try. time"
	done
	[ "$ppm" -le $LIMIT_PPM ] || fail "$1 s idle cost $ppm millionths of a processor ($2)"
	figure="$((ppm / 10000)).$(printf '%04d' $((ppm % 10000))) % of a processor, $turns wakes a second"
}

measure 3 "after a clone"
after_clone=$figure
if [ "$(status_value detector.kernel.state)" = active ] && [ "$(id -u)" -eq 0 ]; then
	"$STIR" kernel || fail "the kernel does not reseed"
	calm() {
		[ "$(status_value epoch.kernel_reseeded)" = true ]
	}
	wait_for 5 calm || fail "the kernel's reseed is not seen"
fi
measure "$LONG_S" "$active"
stop_rngd
note "$figure ($active); after a clone $after_clone"

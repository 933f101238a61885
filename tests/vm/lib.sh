# shellcheck shell=bash disable=SC2034 # used by those who source it
# lib.sh - paths and small functions that the parts of the clone tests share. Source it from the root of the
# repository.
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
VM=$BUILD/vm
KERNELS="generic-6.1 cloud-6.1 cloud-6.12"
QEMU_ROOT=$VM/qemu
QEMU_LIBS=$QEMU_ROOT/usr/lib/x86_64-linux-gnu:$QEMU_ROOT/lib/x86_64-linux-gnu
BUSYBOX=$QEMU_ROOT/bin/busybox

# Nothing of the machine's own QEMU is used, so that a run means the same everywhere.
qemu() {
	LD_LIBRARY_PATH=$QEMU_LIBS QEMU_MODULE_DIR=$QEMU_ROOT/usr/lib/x86_64-linux-gnu/qemu \
		"$QEMU_ROOT/usr/bin/qemu-system-x86_64" -L "$QEMU_ROOT/usr/share/qemu" \
		-L "$QEMU_ROOT/usr/share/seabios" "$@"
}

qemu_img() {
	LD_LIBRARY_PATH=$QEMU_LIBS "$QEMU_ROOT/usr/bin/qemu-img" "$@"
}

skip() {
	echo "SKIP: $*"
	exit 77
}

fail() {
	echo "FAIL: $*"
	exit 1
}

# wait_for SECONDS COMMAND... - until the command succeeds; 1 when it never does.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	while ! "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -le "$end" ] || return 1
		sleep 0.02
	done
}

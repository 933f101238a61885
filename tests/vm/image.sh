#!/bin/bash
# image.sh KERNEL... - makes $BUILD/vm/image/KERNEL.cpio: a root of busybox, the kernel's modules, the programs
# just built and the libraries they need. Takes under a second, so it is made anew each time.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/vm/lib.sh

ROOT=$VM/image/root

# take FILE... - programs of ours to /bin, and the libraries that each needs to where it looks for them.
take() {
	local file library
	for file in "$@"; do
		cp -L "$file" "$ROOT/bin/" || exit 1
		strip "$ROOT/bin/${file##*/}" 2>/dev/null
		LD_LIBRARY_PATH=$BUILD ldd "$file" | grep -o '/[^ ]*' | while read -r library; do
			case $library in
			"$BUILD"/*) cp -L "$library" "$ROOT/bin/" ;;
			*) [ -e "$ROOT$library" ] || { mkdir -p "$ROOT${library%/*}" && cp -L "$library" "$ROOT$library"; } ;;
			esac || exit 1
		done || exit 1
	done
}

for program in "$BUILD/rngd" "$BUILD/rngcli" "$BUILD/librngclient.so"; do
	[ -e "$program" ] || fail "$program is not built: run make first"
done
rm -rf "$VM/image"
mkdir -p "$ROOT"/{bin,dev,etc,modules,proc,root,run,sys,tmp} || exit 1
# build PROGRAM SOURCE [FLAG...]
# shellcheck disable=SC2016 # $ORIGIN is the loader's
build() {
	"${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -D_GNU_SOURCE -I. -Iclient -o "$VM/image/$1" "$2" "${@:3}" \
		-L"$BUILD" -lrngclient -Wl,-rpath,'$ORIGIN' || fail "$2 does not build"
}
build guest tests/vm/guest.c
build actor tests/vm/actor.c
build drawer tests/vm/drawer.c
build uuid_maker doc/examples/uuid_maker.c
build vmclock_at.so tests/vm/vmclock_at.c -shared -fPIC
take "$BUILD/rngd" "$BUILD/rngcli" "$VM/image/guest" "$VM/image/actor" "$VM/image/drawer" "$VM/image/uuid_maker" \
	"$VM/image/vmclock_at.so"
cp "$BUSYBOX" "$ROOT/bin/busybox"
"$BUSYBOX" --list | grep -vx busybox | while read -r applet; do
	ln -sf busybox "$ROOT/bin/$applet"
done
install -m 755 tests/vm/init "$ROOT/init"
printf '%s\n' root:x:0:0::/root:/bin/sh rngd:x:990:990::/:/bin/false nobody:x:65534:65534::/:/bin/false \
	>"$ROOT/etc/passwd"
printf '%s\n' root:x:0: rngd:x:990: nogroup:x:65534: >"$ROOT/etc/group"
for kernel in "$@"; do
	rm -rf "$ROOT/modules"
	cp -r "$VM/kernels/$kernel/modules" "$ROOT/modules"
	cp "$VM/kernels/$kernel/order" "$ROOT/modules/order"
	(cd "$ROOT" && find . | LC_ALL=C sort | "$BUSYBOX" cpio -o -H newc -R 0:0 2>/dev/null) >"$VM/image/$kernel.cpio" ||
		fail "cannot write the image for $kernel"
done
rm -rf "$ROOT"

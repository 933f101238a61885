#!/bin/bash
# root.sh KERNEL - makes what the machine boots from: $BUILD/boot/base.cpio, Debian 12 with systemd and the libraries
# that rngd needs, made once (remove it to get newer ones); and $BUILD/boot/root.cpio, that and what `make install`
# installs, made anew each
# time. The kernel unpacks it into memory: no disk, no loader, no module that must be there before the root.
# When it cannot be had: one line "SKIP: reason", exit 77.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/vm/lib.sh

BOOT=$BUILD/boot
BASE=$BOOT/base.cpio
LAYER=$BOOT/layer
INCLUDE=systemd,systemd-sysv,kmod,procps,libev4,libseccomp2,libsodium23,libsystemd0
# What a machine that only runs tests does without: half of the root, all of which is kept in memory.
LEAVE_OUT="usr/share/doc usr/share/man usr/share/locale usr/share/zoneinfo usr/share/bash-completion usr/share/perl*
	usr/bin/perl* usr/lib/x86_64-linux-gnu/perl* usr/lib/x86_64-linux-gnu/libperl* usr/lib/x86_64-linux-gnu/gconv
	var/lib/dpkg/info var/cache/* var/log/*"

# The machine's own mirrors, as apt has them configured: lines for sources.list.
sources() {
	# shellcheck disable=SC2016 # apt's placeholders, not the shell's
	apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sort -u | sed -n -E 's/^(bookworm(-updates|-security)?) (.*)/deb \3 \1 main/p'
}

make_base() {
	local start=$SECONDS
	sources >"$BOOT/sources.list"
	grep -q ' bookworm main$' "$BOOT/sources.list" || skip "apt has no source for bookworm to make a root from"
	apt-config dump 2>/dev/null | grep -E '^Acquire::https?::' >"$BOOT/apt.conf"
	echo "root: Debian 12 with systemd, into $BASE"
	rm -f "$BOOT/base.tar"
	mmdebstrap --variant=essential --include="$INCLUDE" --aptopt="$BOOT/apt.conf" \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
		--customize-hook="cd \"\$1\" && rm -rf ${LEAVE_OUT//$'\n'/ }" \
		--format=tar bookworm "$BOOT/base.tar" "$BOOT/sources.list" >"$BOOT/mmdebstrap.log" 2>&1 </dev/null ||
		skip "mmdebstrap: $(grep '^E:' "$BOOT/mmdebstrap.log" | head -n 1 | cut -c 1-200) (see $BOOT/mmdebstrap.log)"
	# Hard links do not survive this; none are left once perl is gone.
	bsdtar --format=newc -cf "$BASE.new" "@$BOOT/base.tar" || fail "cannot turn the root into an archive for the kernel"
	rm -f "$BOOT/base.tar"
	mv "$BASE.new" "$BASE"
	echo "$INCLUDE $LEAVE_OUT" >"$BASE.holds"
	echo "root: $(($(stat -c %s "$BASE") >> 20)) MB in $((SECONDS - start)) s"
}

# Modules where modprobe looks for them, for the kernel of that package.
add_modules() {
	local kernel=$1 release
	release=$(sed 's/^linux-image-//' "$VM/kernels/$kernel/package")
	mkdir -p "$LAYER/usr/lib/modules/$release/kernel"
	cp "$VM/kernels/$kernel/modules/"*.ko "$LAYER/usr/lib/modules/$release/kernel/" || fail "no modules for $kernel"
	touch "$LAYER/usr/lib/modules/$release/modules.builtin"
	cp "$VM/kernels/$kernel/order" "$LAYER/usr/lib/modules/$release/modules.order"
	PATH=$PATH:/usr/sbin:/sbin depmod -b "$LAYER/usr" "$release" 2>/dev/null ||
		PATH=$PATH:/usr/sbin:/sbin depmod -b "$LAYER" "$release" || fail "depmod failed"
}

# What the tests bring along: their service, its script, a client that stays connected.
add_tests() {
	local unit
	install -D -m 755 tests/boot/agent "$LAYER/usr/libexec/boot-test/agent"
	install -D -m 755 systemd/after-install.sh "$LAYER/usr/libexec/boot-test/after-install.sh"
	install -D -m 644 tests/boot/steps "$LAYER/usr/libexec/boot-test/steps"
	install -D -m 644 tests/boot/boot-test.service "$LAYER/etc/systemd/system/boot-test.service"
	mkdir -p "$LAYER/etc/systemd/system/multi-user.target.wants" "$LAYER/etc/modules-load.d"
	ln -s ../boot-test.service "$LAYER/etc/systemd/system/multi-user.target.wants/"
	echo virtio_pci virtio_console | tr ' ' '\n' >"$LAYER/etc/modules-load.d/boot-test.conf"
	# No udev, so no device ever shows up for a login prompt to appear on.
	for unit in getty.target serial-getty@ttyS0.service systemd-journal-catalog-update.service; do
		ln -s /dev/null "$LAYER/etc/systemd/system/$unit"
	done
	# With an empty one it would be a first boot, on which systemd enables every unit it finds.
	echo 52d9a1c0f5b34a6f8f0e6a1f2c3b4d5e >"$LAYER/etc/machine-id"
	echo guest >"$LAYER/etc/hostname"
	"${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -D_GNU_SOURCE -I. -o "$LAYER/usr/libexec/boot-test/client" \
		tests/boot/client.c -L"$BUILD" -lrngclient || fail "the client does not build"
}

mkdir -p "$BOOT"
if [ ! -s "$BASE" ] || [ "$(cat "$BASE.holds" 2>/dev/null)" != "$INCLUDE $LEAVE_OUT" ]; then
	sh tests/need.sh mmdebstrap libarchive-tools kmod >"$BOOT/need.log" 2>&1 ||
		skip "mmdebstrap, libarchive-tools or kmod cannot be installed: $(tail -n 1 "$BOOT/need.log")"
	make_base
fi
rm -rf "$LAYER"
mkdir -p "$LAYER"
make --no-print-directory BUILD="$BUILD" DESTDIR="$LAYER" PREFIX=/usr install >"$BOOT/install.log" 2>&1 ||
	fail "make install: $(tail -n 1 "$BOOT/install.log")"
strip "$LAYER/usr/libexec/rngd/rngd" "$LAYER/usr/bin/rngcli" 2>/dev/null
add_modules "$1"
add_tests
(cd "$LAYER" && bsdtar --format=newc --uid 0 --gid 0 -cf "$BOOT/layer.cpio" .) || fail "cannot write the layer"
cat "$BASE" "$BOOT/layer.cpio" >"$BOOT/root.cpio" || fail "cannot write $BOOT/root.cpio"
rm -rf "$LAYER" "$BOOT/layer.cpio"

#!/bin/bash
# fetch.sh - gets QEMU, busybox and the kernels that the clone tests boot, into $BUILD/vm.
# Nothing is installed and the machine's package sources stay as they are: apt works in a root of its own below
# $BUILD/vm/apt, the packages are only unpacked. What is there already is not fetched again; remove
# $BUILD/vm to get newer ones. When something cannot be had: one line "SKIP: reason", exit 77.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/vm/lib.sh

APT=$VM/apt
DEBS=$APT/cache/archives
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
FETCHED=$VM/fetched
# Bumped when what is unpacked changes, so that an older build directory is filled anew.
LAYOUT=1

# In the order they must be loaded. One that a kernel's package lacks is built in.
MODULES="virtio/virtio_ring virtio/virtio virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev
	virtio/virtio_pci char/virtio_console firmware/qemu_fw_cfg"

complete() {
	local kernel
	[ "$(head -n 1 "$FETCHED" 2>/dev/null)" = "$LAYOUT" ] || return 1
	for kernel in $KERNELS; do
		[ -s "$VM/kernels/$kernel/vmlinuz" ] || return 1
	done
	# A library of the machine's that QEMU needs may have gone since.
	qemu --version >/dev/null 2>&1 && qemu_img --version >/dev/null 2>&1 && [ -x "$BUSYBOX" ]
}

# The machine's own mirrors, whatever they are: "suite URI" a line; also where their lists were never read.
mirrors() {
	# shellcheck disable=SC2016 # apt's placeholders, not the shell's
	apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sort -u
}

# A configuration with the machine's proxies and time limits, but none of its hooks, pins or sources.
configure() {
	local main security
	main=$(mirrors | sed -n 's/^bookworm //p' | head -n 1)
	security=$(mirrors | sed -n 's/^bookworm-security //p' | head -n 1)
	[ -n "$main" ] || skip "apt has no source for bookworm to take QEMU and kernels from"
	[ -n "$security" ] || skip "apt has no source for bookworm-security to take kernels from"
	[ -r "$KEYRING" ] || skip "$KEYRING is not there, so no package could be verified"
	mkdir -p "$APT"/{none,state/lists/partial,cache/archives/partial} || exit 1
	{
		printf "deb [signed-by=$KEYRING] $main %s main\n" bookworm bookworm-updates bookworm-backports
		echo "deb [signed-by=$KEYRING] $security bookworm-security main"
	} >"$APT/sources.list"
	{
		apt-config dump 2>/dev/null | grep '^Acquire::'
		cat <<-END
			Dir::Etc::main "/dev/null";
			Dir::Etc::parts "$APT/none";
			Dir::Etc::sourcelist "$APT/sources.list";
			Dir::Etc::sourceparts "$APT/none";
			Dir::Etc::preferences "$APT/none";
			Dir::Etc::preferencesparts "$APT/none";
			Dir::State "$APT/state";
			Dir::State::lists "$APT/state/lists";
			Dir::State::status "/var/lib/dpkg/status";
			Dir::Cache "$APT/cache";
			Dir::Cache::archives "$DEBS";
			Dir::Log "$APT";
			APT::Architecture "amd64";
			APT::Install-Recommends "false";
			Acquire::Languages "none";
			Acquire::IndexTargets::deb::Packages::KeepCompressed "true";
			Acquire::Retries "1";
			Acquire::http::Timeout "15";
			Acquire::https::Timeout "15";
			Debug::NoLocking "true";
		END
		# The unprivileged user apt would change to need not be able to reach the build directory.
		[ "$(id -u)" -ne 0 ] || echo 'APT::Sandbox::User "root";'
	} >"$APT/apt.conf"
}

# apt PROGRAM ARGUMENT... - under that configuration; what it says goes to a file unless it fails.
apt() {
	APT_CONFIG=$APT/apt.conf DEBIAN_FRONTEND=noninteractive "$@" </dev/null 2>>"$APT/log"
}

must() {
	local what=$1
	shift
	apt "$@" >>"$APT/log" && return
	skip "cannot $what: $(grep -E '^(E|Err):?' "$APT/log" | head -n 1 | cut -c 1-200) (see $APT/log)"
}

# The package that holds the kernel now: what the meta package depends on, and the newest of a series.
package_behind() {
	apt apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

newest_package() {
	apt apt-cache pkgnames linux-image | grep -E "$1" | sort -V | tail -n 1
}

# unpack_kernel NAME PACKAGE - the image and the few modules alone; a whole package is 100 to 400 MB.
unpack_kernel() {
	local package=$2 dir=$VM/kernels/$1 deb list=() module
	deb=$(find "$DEBS" -name "${package}_*.deb" | head -n 1)
	rm -rf "$dir" "$dir.new"
	mkdir -p "$dir.new/modules"
	for module in $MODULES; do
		list+=("./lib/modules/*/kernel/drivers/$module.ko*")
	done
	dpkg-deb --fsys-tarfile "$deb" |
		tar -x -C "$dir.new" --wildcards './boot/vmlinuz-*' './boot/config-*' "${list[@]}" 2>/dev/null
	mv "$dir.new"/boot/vmlinuz-* "$dir.new/vmlinuz" || skip "$package holds no kernel image"
	mv "$dir.new"/boot/config-* "$dir.new/config"
	for module in $MODULES; do
		find "$dir.new/lib" -name "${module##*/}.ko*" -exec mv {} "$dir.new/modules/" \;
		if [ -e "$dir.new/modules/${module##*/}.ko.xz" ]; then
			"$BUSYBOX" unxz "$dir.new/modules/${module##*/}.ko.xz"
		fi
		echo "${module##*/}.ko"
	done >"$dir.new/order"
	rm -rf "$dir.new/lib" "$dir.new/boot"
	echo "$package" >"$dir.new/package"
	mv "$dir.new" "$dir"
}

fetch() {
	local start=$SECONDS generic cloud new deb
	rm -f "$FETCHED"
	configure
	: >"$APT/log"
	echo "fetch: package lists, into $APT"
	must "read the package lists" apt-get update --error-on=any
	generic=$(package_behind linux-image-amd64)
	cloud=$(package_behind linux-image-cloud-amd64)
	new=$(newest_package '^linux-image-6\.12\.[^-]*-cloud-amd64$')
	[[ -n $generic && -n $cloud && -n $new ]] ||
		skip "the mirror lacks a kernel: 6.1 '$generic', 6.1 cloud '$cloud', 6.12 cloud '$new'"
	echo "fetch: QEMU from bookworm-backports with the libraries missing here, busybox-static"
	must "fetch QEMU" apt-get install -y --download-only --reinstall -t bookworm-backports \
		qemu-system-x86 qemu-utils busybox-static
	rm -rf "$QEMU_ROOT"
	mkdir -p "$QEMU_ROOT"
	for deb in "$DEBS"/*.deb; do
		dpkg-deb -x "$deb" "$QEMU_ROOT" || skip "cannot unpack $deb"
	done
	qemu --version >/dev/null 2>>"$APT/log" || skip "QEMU does not run: $(tail -n 1 "$APT/log")"
	echo "fetch: kernels $generic, $cloud, $new"
	(cd "$DEBS" && must "fetch the kernels" apt-get download "$generic" "$cloud" "$new") || exit
	unpack_kernel generic-6.1 "$generic"
	unpack_kernel cloud-6.1 "$cloud"
	unpack_kernel cloud-6.12 "$new"
	echo "fetch: $(du -cm "$DEBS"/*.deb "$APT/state/lists" | tail -n 1 | cut -f 1) MB in $((SECONDS - start)) s," \
		"$(qemu --version | sed -n '1s/.*version \([^ ]*\).*/QEMU \1/p')"
	# What was unpacked is all that is needed.
	rm -rf "$APT/cache" "$APT/state"
	echo "$LAYOUT" >"$FETCHED"
}

[ "$(uname -m)" = x86_64 ] || skip "the virtual machines are made for x86_64"
if ! complete; then
	# shellcheck source=/dev/null
	[ "$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")" = bookworm ] ||
		skip "QEMU and kernels are fetched on Debian 12 only"
	fetch
	complete || skip "QEMU or a kernel is missing after fetching: see $APT/log"
fi

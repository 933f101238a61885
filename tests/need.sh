#!/bin/sh
# need.sh PACKAGE... - installs the Debian packages that are missing, saying which; does and says nothing
# when all are there.
missing=
for package in "$@"; do
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
	*' installed') ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "These Debian packages (or what your system calls them) are needed:$missing" >&2
	exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "Run this as root, or install first:$missing" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "Installing missing packages:$missing"
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
# $missing and $as_root are lists of words on purpose.
# shellcheck disable=SC2086
if ! { $as_root apt-get update -q &&
	DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y --no-install-recommends $missing; } \
	</dev/null >"$log" 2>&1; then
	cat "$log" >&2
	echo "Could not install:$missing" >&2
	exit 1
fi

#!/bin/bash
# 090-install - what `make install` puts where, that it can be built against and run from there, that the
# binaries are hardened, and that `make uninstall` takes all of it away.
set -u
. "$(dirname "$0")/lib.sh"
[ -z "$SAN" ] || skip "a sanitizer build is not for installing"
command -v readelf >/dev/null || skip "readelf is missing (binutils)"
root=$TMP/root
lib=$root/usr/lib

# The tree's own make, not a child of the one that runs this: with its own idea of targets and jobs.
make_here() {
	(cd "$ROOT" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
		make "$@" BUILD="$BUILD" DESTDIR="$root" PREFIX=/usr) >"$TMP/make.log" 2>&1 ||
		fail "make $*: $(tail -n 5 "$TMP/make.log")"
}

# A strict umask is the caller's business; what is installed is for everybody.
umask 077
make_here install
umask 022

# ---------------------------------------------------------------- files and modes
expected='644 usr/include/rngclient.h
644 usr/include/rngclient.hpp
644 usr/include/rngclient_fd.h
644 usr/include/rngclient_local.h
644 usr/lib/librngclient.a
644 usr/lib/librngclient.so.0
644 usr/lib/pkgconfig/librngclient.pc
644 usr/lib/python3/dist-packages/rngclient/__init__.py
644 usr/lib/python3/dist-packages/rngclient/_clones.py
644 usr/lib/python3/dist-packages/rngclient/_library.py
644 usr/lib/python3/dist-packages/rngclient/_numbers.py
644 usr/lib/python3/dist-packages/rngclient/py.typed
644 usr/lib/systemd/catalog/rngd.catalog
644 usr/lib/systemd/system/rngd-control.socket
644 usr/lib/systemd/system/rngd-kernel-reseed.service
644 usr/lib/systemd/system/rngd-on-clone@.service
644 usr/lib/systemd/system/rngd.service
644 usr/lib/systemd/system/rngd.socket
644 usr/lib/sysusers.d/rngd.conf
644 usr/lib/tmpfiles.d/rngd.conf
644 usr/share/man/man1/rngcli.1
644 usr/share/man/man3/librngclient.3
644 usr/share/man/man8/rngd.8
755 usr/bin/rngcli
755 usr/libexec/rngd/rngd'
functions=$(nm -D --defined-only "$BUILD/librngclient.so" | sed -n 's/.* T \(rngclient_[a-z0-9_]*\)@.*/\1/p')
[ -n "$functions" ] || fail "the library exports nothing"
# shellcheck disable=SC2086 # words
expected=$({ echo "$expected" && printf '644 usr/share/man/man3/%s.3\n' $functions; } | sort)
found=$(find "$root" -type f -printf '%m %P\n' | sort)
[ "$found" = "$expected" ] ||
	fail "installed files differ: $(diff <(echo "$expected") <(echo "$found"))"
[ "$(find "$root" -type l -printf '%P %l\n')" = "usr/lib/librngclient.so librngclient.so.0" ] ||
	fail "links: $(find "$root" -type l -printf '%P %l\n')"
odd=$(find "$root/usr" -type d ! -perm 755)
[ -z "$odd" ] || fail "directories not open to everybody: $odd"
! grep -rnE '@[A-Z]+@' "$lib/pkgconfig" "$lib/systemd" || fail "a placeholder was left"
! grep -qF "$TMP" "$lib/pkgconfig/librngclient.pc" "$lib/systemd/system/rngd.service" ||
	fail "DESTDIR got into a file"

# `man rngclient_get` finds the page where that is. mandoc follows a page to another of the same tree.
for name in $functions; do
	[ "$(cat "$root/usr/share/man/man3/$name.3")" = '.so man3/librngclient.3' ] || fail "$name.3 names another page"
done
if command -v mandoc >/dev/null; then
	(cd "$root/usr/share/man" && mandoc -T ascii man3/rngclient_get.3) | grep -q 'LIBRNGCLIENT(3)' ||
		fail "rngclient_get.3 leads nowhere"
fi

# ---------------------------------------------------------------- binaries
daemon=$root/usr/libexec/rngd/rngd
cli=$root/usr/bin/rngcli
shared=$lib/librngclient.so.0

for file in "$daemon" "$cli" "$shared"; do
	name=$(basename "$file")
	head=$(readelf -hW "$file") segments=$(readelf -lW "$file") dynamic=$(readelf -dW "$file")
	symbols=$(readelf --dyn-syms -W "$file")
	grep -q 'Type: *DYN' <<<"$head" || fail "$name is not position-independent"
	grep -q 'GNU_RELRO' <<<"$segments" || fail "$name has no RELRO"
	grep -qE 'BIND_NOW|Flags:.* NOW' <<<"$dynamic" || fail "$name binds lazily"
	grep -q 'GNU_STACK.* RW ' <<<"$segments" || fail "$name has an executable stack"
	! grep -qE ' LOAD .* RWE ' <<<"$segments" || fail "$name has a writable, executable segment"
	! grep -q 'TEXTREL' <<<"$dynamic" || fail "$name has text relocations"
	! grep -qE 'R(UN)?PATH' <<<"$dynamic" || fail "$name searches a library path of its own"
	grep -q '__stack_chk_fail' <<<"$symbols" || fail "$name has no stack protector"
done
for file in "$daemon" "$cli"; do
	[ "$(uname -m)" != x86_64 ] || readelf -nW "$file" | grep -q 'IBT, SHSTK' ||
		fail "$(basename "$file") is not marked for CET"
	readelf -dW "$file" | grep -q 'Flags:.* PIE' || fail "$(basename "$file") is not a PIE"
	readelf --dyn-syms -W "$file" | grep -q '_chk@' || fail "$(basename "$file") is not fortified"
done
readelf -dW "$shared" | grep -q 'SONAME.*\[librngclient\.so\.0\]' || fail "the SONAME is wrong"
readelf -dW "$cli" | grep -q 'NEEDED.*\[librngclient\.so\.0\]' || fail "rngcli does not use the library"
needed=$(readelf -dW "$shared" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
[ "$needed" = libc.so.6 ] || fail "the library needs more than libc: $needed"
others=$(nm -D --defined-only "$shared" |
	grep -vE ' T rngclient_[a-z0-9_]+@@RNGCLIENT_0$| A RNGCLIENT_0$')
[ -z "$others" ] || fail "the library exports $others"
nm -D --defined-only "$shared" | grep -q ' T rngclient_get@@' || fail "the library exports no rngclient_get"

# ---------------------------------------------------------------- use
export LD_LIBRARY_PATH=$lib
# shellcheck disable=SC2034 # lib.sh starts it
RNGD=$daemon RNGCLI=$cli
start_rngd
[ "$("$RNGCLI" --socket "$SOCK" --hex 16 | tr -d '\n' | wc -c)" -eq 32 ] || fail "rngcli gives no bytes"

cat >"$TMP/use.c" <<'C'
#include <rngclient.h>
#include <rngclient_fd.h>
#include <rngclient_local.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	unsigned char buf[64] = {0}, zero[64] = {0};
	struct rngclient *client;
	int bad = rngclient_open(&client, argc > 1 ? argv[1] : NULL, 0);

	bad |= rngclient_get(client, buf, sizeof(buf));
	rngclient_close(client);
	puts(rngclient_version());
	return bad || !memcmp(buf, zero, sizeof(buf)) || strcmp(rngclient_version(), RNGCLIENT_VERSION_STRING);
}
C
cc=$(command -v cc || command -v gcc) || fail "no C compiler"
strict="-pedantic -Wall -Wextra -Werror"
# shellcheck disable=SC2086 # words
"$cc" -std=c99 $strict -I"$root/usr/include" -o "$TMP/use-static" "$TMP/use.c" "$lib/librngclient.a" ||
	fail "a program does not build with the archive"
version=$(env -u LD_LIBRARY_PATH "$TMP/use-static" "$SOCK") ||
	fail "a program with the archive does not work"
if command -v c++ >/dev/null; then
	# shellcheck disable=SC2086
	printf '#include <%s>\n' rngclient.h rngclient_local.h rngclient_fd.h rngclient.hpp |
		c++ -x c++ -std=c++17 -fsyntax-only $strict -I"$root/usr/include" - || fail "the headers are not C++"
fi
if command -v pkg-config >/dev/null; then
	pkg() {
		PKG_CONFIG_LIBDIR=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root \
			PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
			pkg-config "$@" librngclient
	}
	# shellcheck disable=SC2046
	"$cc" $(pkg --cflags) -o "$TMP/use" "$TMP/use.c" $(pkg --libs) ||
		fail "a program does not build with pkg-config's flags"
	readelf -dW "$TMP/use" | grep -q 'NEEDED.*\[librngclient\.so\.0\]' ||
		fail "pkg-config chose another library"
	[ "$("$TMP/use" "$SOCK")" = "$(pkg --modversion)" ] || fail "a program with the library does not work"
	[ "$version" = "$(pkg --modversion)" ] || fail "versions differ: $version, $(pkg --modversion)"
fi
if [ -x /usr/bin/python3 ]; then
	# Not with -B: what Python leaves there must go with the rest.
	PYTHONPATH=$lib/python3/dist-packages /usr/bin/python3 -c '
import sys, rngclient
rngclient.configure(sys.argv[1])
sys.exit(len(rngclient.token_bytes(9)) != 9 or not rngclient.__file__.startswith(sys.argv[2]))' "$SOCK" "$root" ||
		fail "the Python module does not work"
	# By default it is put where this Python looks.
	default=$(cd "$ROOT" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u PREFIX -u PYTHONDIR \
		make -s --eval='where: ; @echo $(PYTHONDIR)' where)
	/usr/bin/python3 -c 'import sys; sys.exit(sys.argv[1] not in sys.path)' "$default" ||
		fail "Python does not look in $default"
fi
stop_rngd

# ---------------------------------------------------------------- what the journal explains
catalog=$lib/systemd/catalog/rngd.catalog
logged=$(grep -oE '^ +\[LOG_EVENT_[A-Z_]+\] = "[0-9a-f]{32}"' "$ROOT/daemon/log.c" | grep -oE '[0-9a-f]{32}' | sort)
[ -n "$logged" ] && [ "$logged" = "$(sort -u <<<"$logged")" ] || fail "the events' ids: $logged"
[ "$logged" = "$(sed -n 's/^-- \([0-9a-f]*\)$/\1/p' "$catalog" | sort)" ] ||
	fail "the catalog and daemon/log.c have other ids"
if command -v journalctl >/dev/null && mkdir -p "$root/var/lib/systemd/catalog" &&
	journalctl --root="$root" --update-catalog 2>"$TMP/catalog"; then
	[ ! -s "$TMP/catalog" ] || fail "journalctl says of the catalog: $(cat "$TMP/catalog")"
	for id in $logged; do
		journalctl --root="$root" --dump-catalog "$id" | grep -q '^Subject: .*[rR]ngd\|^Subject: .*machine\|^Subject: .*source' ||
			fail "the catalog has nothing on $id"
	done
fi
rm -rf "$root/var"

# ---------------------------------------------------------------- units
if command -v systemd-analyze >/dev/null; then
	mkdir "$TMP/units"
	# The programs are looked for on this system, where they are not installed.
	for unit in rngd.service rngd-on-clone@.service rngd-kernel-reseed.service; do
		sed "s|/usr/libexec|$root&|; s|/usr/bin/|$root&|" "$lib/systemd/system/$unit" >"$TMP/units/$unit"
	done
	cp "$lib/systemd/system/rngd.socket" "$lib/systemd/system/rngd-control.socket" "$TMP/units/"
	said=$(systemd-analyze verify --man=no "$TMP"/units/rngd* 2>&1) ||
		fail "systemd-analyze verify: $said"
	! grep -E 'rngd[a-z@-]*\.(service|socket):' <<<"$said" || fail "systemd-analyze verify has something to say"
	if systemd-analyze --help | grep -q -e --offline; then
		systemd-analyze security --offline=yes --threshold=10 "$TMP/units/rngd.service" \
			>"$TMP/security" || fail "systemd-analyze security: $(tail -n 1 "$TMP/security")"
		note "$(grep -o 'exposure level.*: [0-9.]*' "$TMP/security")"
		for unit in rngd-on-clone@.service rngd-kernel-reseed.service; do
			systemd-analyze security --offline=yes --threshold=15 "$TMP/units/$unit" >"$TMP/security" ||
				fail "systemd-analyze security $unit: $(tail -n 1 "$TMP/security")"
		done
	fi
fi

# ---------------------------------------------------------------- and away
make_here uninstall
left=$(find "$root" ! -type d)
[ -z "$left" ] || fail "uninstall leaves $left"
[ ! -e "$root/usr/libexec/rngd" ] && [ ! -e "$lib/python3/dist-packages/rngclient" ] ||
	fail "uninstall leaves its directories"
make_here uninstall

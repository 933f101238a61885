#!/bin/bash
# abi.sh - is what a program was linked against at the last release still there? Builds librngclient.so as it was at the
# newest tag v* of this history (ABI_TAG= names another) and as it is now, and compares them. What was added is
# welcome. What went or changed is a failure, unless the soname is another one: then no old program is given the new library.
# The last line counts; exit 1 when something failed.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$(pwd -P)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export LC_ALL=C

passed=0 failed=0
ok() {
	echo "ok     $*"
	passed=$((passed + 1))
}
# bad WHAT [FILE] - with what the file says.
bad() {
	echo "FAIL   $1"
	[ $# -lt 2 ] || sed 's/^/       | /' "$2"
	failed=$((failed + 1))
}
end() {
	echo "$passed passed, $failed failed, ${1:-0} skipped"
	[ "$failed" -eq 0 ]
	exit
}
skip() {
	echo "SKIP: $*"
	end 1
}

# Whoever runs this runs what is in the tree: that it belongs to somebody else is no reason not to read its tags.
repo() {
	git -c safe.directory="$root" -c versionsort.suffix=- "$@"
}

# newest [OPTION...] - tags, the newest version first; v1.0-rc1 is older than v1.0.
newest() {
	repo tag --list 'v[0-9]*' --sort=-version:refname "$@"
}

# A clone without history cannot say which tags belong to it: then the newest that is not newer than the tree.
newest_by_version() {
	local tag version
	version=v$(sed -n 's/^VERSION = //p' Makefile)
	newest | while read -r tag; do
		if [ "$(printf '%s\n' "$tag" "$version" | sort -V | tail -n 1)" = "$version" ]; then
			echo "$tag"
			break
		fi
	done
}

# The tag to compare with, or nothing.
find_tag() {
	newest --merged HEAD >"$work/tags" 2>"$work/log" && head -n 1 "$work/tags"
}

# build TREE OUT - with what debuggers know, and nothing of the caller's flags.
build() {
	(cd "$1" && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CI -u SAN -u FALLBACK -u CPPFLAGS -u LDFLAGS \
		make -j"$(nproc)" BUILD="$2" CFLAGS='-O1 -g' "$2/librngclient.so") >"$work/log" 2>&1 </dev/null || return 1
	mkdir "$2/include" && cp "$1"/client/rngclient*.h "$2/include/"
}

soname() {
	readelf -dW "$1" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p'
}

# constants DIR - what the headers have compiled into programs, and no debugger sees: a name and its value a line.
constants() {
	local header
	for header in "$1"/*.h; do
		gcc -E -dM "$header" | sed -n 's/^#define \(RNGCLIENT_[A-Z0-9_]*\) \(..*\)/\1 = \2/p'
		gcc -E -P "$header" | grep -oE 'RNGCLIENT_[A-Z0-9_]+ = [^,}]*[^,} ]'
	done | grep -vE '^RNGCLIENT_(VERSION_STRING|MUST_CHECK) ' | sort -u
}

# struct DIR NAME - as one line, without comments; nothing where it has none.
struct() {
	cat "$1"/*.h | gcc -E -P -I"$1" -x c - | tr '\n\t' '  ' | grep -oE "struct $2 +\{[^}]*\}" | head -n 1
}
# members STRUCT - their names.
members() {
	sed 's/^[^{]*{//; s/}$//' <<<"$1" | tr ';' '\n' | sed -nE 's/\[[^]]*\]//g; s/.*[^a-zA-Z0-9_]([a-zA-Z0-9_]+) *$/\1/p'
}
# grew NAME - the struct has members that it had not, behind the bytes that it had; and all others where they were.
grew() {
	local was is member more=no
	was=$(struct "$old/include" "$1") is=$(struct "$new/include" "$1")
	[ -n "$was" ] && [ -n "$is" ] || return 1
	{
		printf '#include <%s>\n' stddef.h stdint.h
		echo "${was/struct $1/struct old}; ${is/struct $1/struct new};"
		echo '#define TYPE(s, m) __typeof__(((struct s *)0)->m)'
		for member in $(members "$was"); do
			echo "_Static_assert(offsetof(struct old, $member) == offsetof(struct new, $member) &&" \
				"__builtin_types_compatible_p(TYPE(old, $member), TYPE(new, $member)), \"moved\");"
		done
		for member in $(members "$is"); do
			! members "$was" | grep -qx "$member" || continue
			echo "_Static_assert(offsetof(struct new, $member) >= sizeof(struct old), \"inside\");"
			more=yes
		done
	} >"$work/grew.c"
	[ $more = yes ] && gcc -fsyntax-only "$work/grew.c" 2>/dev/null
}

# declared DIR FILE - every function there as a declaration a line.
declared() {
	cat "$1"/*.h | gcc -I"$1" -fsyntax-only -aux-info "$work/aux" -x c - &&
		sed -n 's|^/\* <stdin>:.*\*/ \(extern .*[ *]rngclient_.*;\)$|\1|p' "$work/aux" >"$2"
}

# ---------------------------------------------------------------- with what
none='no release tag yet, so nothing to compare with'
tag=${ABI_TAG:-}
if [ -z "$tag" ]; then
	# Of its own: a tarball unpacked inside of some other repository has none.
	[ -e .git ] || skip "$none"
	repo rev-parse --git-dir >/dev/null 2>"$work/log" || {
		bad 'git cannot read this repository' "$work/log"
		end
	}
	tag=$(find_tag)
	if [ -z "$tag" ] && [ "$(repo rev-parse --is-shallow-repository)" = true ]; then
		tag=$(newest_by_version)
		[ -n "$tag" ] || skip 'no release tag in this shallow clone, so nothing to compare with' \
			'(git fetch --unshallow --tags)'
	fi
	[ -n "$tag" ] || skip "$none"
fi

# ---------------------------------------------------------------- both
mkdir "$work/tree"
set -o pipefail
if ! repo archive "$tag" 2>"$work/log" | tar -x -C "$work/tree" 2>>"$work/log"; then
	bad "$tag cannot be read" "$work/log"
	end
fi
set +o pipefail
old=$work/old new=$work/new
for which in tree:old .:new; do
	tree=${which%:*}
	[ "$tree" = . ] || tree=$work/$tree
	build "$tree" "$work/${which#*:}" || {
		bad "the library of $([ "$tree" = . ] && echo this tree || echo "$tag") does not build" "$work/log"
		end
	}
done

was=$(soname "$old/librngclient.so") is=$(soname "$new/librngclient.so")
if [ "$was" != "$is" ]; then
	ok "$tag has the soname $was, this is $is: nothing to keep"
	end
fi

# Who calls says how large these are as it knows them; so they may grow at the end. abidiff has a rule for that
# (has_data_member_inserted_at), but one that hides every other change of the struct as well.
: >"$work/grown"
for name in rngclient_epoch rngclient_event; do
	! grew "$name" || printf '[suppress_type]\n\ttype_kind = struct\n\tname = %s\n' "$name" >>"$work/grown"
done
# Types that no public header defines are nobody's affair: what a handle points at may change.
compare() {
	abidiff --suppressions "$work/grown" --headers-dir1 "$old/include" --headers-dir2 "$new/include" "$@" \
		"$old/librngclient.so" "$new/librngclient.so" >"$work/log" 2>&1
}
compare --no-added-syms
status=$?
if [ $status -ne 0 ]; then
	bad "the functions of $tag are not what they were (abidiff: $status), and the soname is still $is" "$work/log"
else
	compare
	added=$(sed -n "s/.*\[A\] 'function \(.*\)'  *{.*/\1/p" "$work/log")
	ok "the functions of $tag are all there${added:+; new: $added}"
fi

# And to a compiler: who is shown old and new declarations takes no two that differ.
declared "$old/include" "$work/declared" && [ -s "$work/declared" ] || {
	bad "no functions in the headers of $tag"
	end
}
if cat "$new"/include/*.h "$work/declared" | gcc -I"$new/include" -fsyntax-only -x c - 2>"$work/log"; then
	ok "the declarations of $tag are still true"
else
	bad "declarations of $tag do not hold any more" "$work/log"
fi

constants "$old/include" >"$work/were"
constants "$new/include" >"$work/are"
if [ ! -s "$work/were" ]; then
	bad "no constants in the headers of $tag"
elif comm -23 "$work/were" "$work/are" | grep . >"$work/log"; then
	bad "constants of $tag went, or changed" "$work/log"
else
	ok "the constants of $tag have their values"
fi
end

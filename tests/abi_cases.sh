#!/bin/bash
# abi_cases.sh - tests/abi.sh sees what it is for, and nothing else: on a library of six functions with the layout of
# ours, in a repository of its own, one change at a time. The last line counts; exit 1 when something failed.
set -u
abi=$(cd "$(dirname "$0")" && pwd)/abi.sh
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
unset ABI_TAG
# Of nobody's configuration.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@example GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@example
passed=0 failed=0

base=$work/base
mkdir -p "$base/client" "$base/tests" && cp "$abi" "$base/tests/" && cd "$base" || exit 1
cat >Makefile <<'END'
VERSION = 0.2.0
SOVERSION = 0
BUILD ?= build
$(BUILD)/librngclient.so: client/rngclient.c client/librngclient.map
	mkdir -p $(BUILD)
	gcc $(CFLAGS) -fPIC -shared -Wl,-soname,librngclient.so.$(SOVERSION) \
		-Wl,--version-script=client/librngclient.map -o $@ $<
END
cat >client/librngclient.map <<'END'
RNGCLIENT_0 {
global:
	rngclient_epoch_info;
	rngclient_event_next;
	rngclient_get;
	rngclient_local_u32;
	rngclient_look;
	rngclient_open;
local:
	*;
};
END
cat >client/rngclient.h <<'END'
#include <stddef.h>
#include <stdint.h>
#define RNGCLIENT_VERSION_STRING "0.2.0"
#define RNGCLIENT_STATUS_BYTES 100
struct rngclient;
enum rngclient_state {
	RNGCLIENT_STOPPED = 0,
	RNGCLIENT_SERVING = 1
};
struct rngclient_plain {
	uint32_t number;
};
struct rngclient_event {
	size_t size;
	uint64_t generation;
	uint32_t notifier;
	char name[20];
};
struct rngclient_epoch {
	size_t size;
	uint32_t epoch; /* and 4 bytes of padding */
};
int rngclient_open(struct rngclient **out, const char *path, int timeout_ms);
int rngclient_get(struct rngclient *client, void *buf, size_t len);
int rngclient_look(struct rngclient *client, struct rngclient_plain *plain);
int rngclient_event_next(struct rngclient *client, struct rngclient_event *event);
int rngclient_epoch_info(struct rngclient *client, struct rngclient_epoch *page);
END
cat >client/rngclient_local.h <<'END'
#include <stdint.h>
struct rngclient_local;
int rngclient_local_u32(struct rngclient_local *local, uint32_t *out);
END
cat >client/local.h <<'END'
#include <stdint.h>
struct rngclient {
	int fd;
};
struct rngclient_local {
	uint64_t state;
};
END
cat >client/rngclient.c <<'END'
#include "local.h"
#include "rngclient.h"
#include "rngclient_local.h"
static struct rngclient only;
int rngclient_open(struct rngclient **out, const char *path, int timeout_ms)
{
	*out = &only;
	return path && timeout_ms;
}
int rngclient_get(struct rngclient *client, void *buf, size_t len)
{
	return client->fd + (buf && len);
}
int rngclient_look(struct rngclient *client, struct rngclient_plain *plain)
{
	return client->fd + (int)plain->number;
}
int rngclient_event_next(struct rngclient *client, struct rngclient_event *event)
{
	return client->fd + (int)event->notifier;
}
int rngclient_epoch_info(struct rngclient *client, struct rngclient_epoch *page)
{
	return client->fd + (int)page->epoch;
}
int rngclient_local_u32(struct rngclient_local *local, uint32_t *out)
{
	*out = (uint32_t)local->state++;
	return 0;
}
END

# expect NAME WANT TEXT - tests/abi.sh in the present directory ends so: "good" or "bad", and says that.
expect() {
	local status want=0 said
	[ "$2" = good ] || want=1
	said=$(bash tests/abi.sh 2>&1)
	status=$?
	if [ $status -eq $want ] && grep -qF -e "$3" <<<"$said" &&
		tail -n 1 <<<"$said" | grep -qE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$'; then
		passed=$((passed + 1))
		return
	fi
	printf 'FAIL   abi %s: not %s, "%s", but status %s:\n' "$1" "$2" "$3" "$status"
	sed 's/^/       | /' <<<"$said"
	failed=$((failed + 1))
}

# changed NAME WANT TEXT FILE SED [FILE SED]... - the same with files edited, which must change, and are put back.
changed() {
	local name=$1 want=$2 text=$3
	shift 3
	while [ $# -gt 0 ]; do
		sed -i "$2" "$1"
		if git diff --quiet "$1"; then
			echo "FAIL   abi $name: '$2' changes nothing in $1"
			failed=$((failed + 1))
		fi
		shift 2
	done
	expect "$name" "$want" "$text"
	git checkout -q .
}
none='SKIP: no release tag yet, so nothing to compare with'
H=client/rngclient.h C=client/rngclient.c M=client/librngclient.map

# ---------------------------------------------------------------- with what
expect 'without git' good "$none"
git init -q -b main . && git add . && git commit -qm 1
expect 'without a tag' good "$none"
git tag release-1
git tag very-old
expect 'tags of another kind' good "$none"
mkdir -p inner && cp -r Makefile client tests inner/ && git tag v0.1.0
cd inner || exit 1
expect 'a tarball inside of another repository' good "$none"
cd .. && rm -r inner

# ---------------------------------------------------------------- what went, came or changed
there='functions of v0.1.0 are all there'
other='functions of v0.1.0 are not what they were'
expect 'no change' good "$there"
changed 'a function more' good 'new: int rngclient_more()' $M 's/^\trngclient_open;/&\n\trngclient_more;/' \
	$H '$a int rngclient_more(void);' $C '$a int rngclient_more(void) { return 0; }'
changed 'a function less' bad "$other" $M '/rngclient_look;/d'
changed 'less and more' bad "$other" $M 's/rngclient_look;/rngclient_see;/' $H 's/rngclient_look/rngclient_see/' \
	$C 's/rngclient_look/rngclient_see/'
changed 'less, with a new soname' good 'has the soname librngclient.so.0, this is librngclient.so.1' \
	$M '/rngclient_look;/d' Makefile 's/^SOVERSION = 0/SOVERSION = 1/'
changed 'another version of a symbol' bad "$other" $M 's/^RNGCLIENT_0/RNGCLIENT_1/'
changed 'another type of argument' bad "$other" $H 's/int timeout_ms/int64_t timeout_ms/' $C 's/int timeout_ms/int64_t timeout_ms/'
changed 'an argument more' bad "$other" $H 's/size_t len/&, int flags/' $C 's/size_t len/&, int flags/'
changed 'another result' bad "$other" $H 's/^int rngclient_get/int64_t rngclient_get/' $C 's/^int rngclient_get/int64_t rngclient_get/'
changed 'signed to unsigned' bad "$other" $H 's/int timeout_ms/unsigned timeout_ms/' $C 's/int timeout_ms/unsigned timeout_ms/'
changed 'a member between others' bad "$other" $H 's/^\tuint32_t notifier;/\tuint64_t when;\n&/'
changed 'a member of another size' bad "$other" $H 's/char name\[20\]/char name[28]/'
changed 'members exchanged' bad "$other" $H 's/^\tuint32_t notifier;/\tchar name[20];/; t; s/^\tchar name\[20\];/\tuint32_t notifier;/'
changed 'a member of another type' bad "$other" $H 's/^\tuint64_t generation;/\tint64_t generation;/'
changed 'a member less' bad "$other" $H '/^\tchar name\[20\];/d'
changed 'a member at the end, of a struct with a size' good "$there" $H 's/^\tchar name\[20\];/&\n\tuint64_t when;/'
changed 'the same, and a change before it' bad "$other" $H 's/^\tchar name\[20\];/&\n\tuint64_t when;/; s/uint64_t generation/int64_t generation/'
changed 'the same, and an exchange before it' bad "$other" $H 's/^\tchar name\[20\];/\tchar name[16];\n\tuint32_t in_between;\n\tuint64_t when;/'
changed 'the same, and a function less' bad "$other" $H 's/^\tchar name\[20\];/&\n\tuint64_t when;/' $M '/rngclient_event_next;/d'
changed 'the same, and a function that takes another' bad 'declarations of v0.1.0 do not hold' \
	$H 's/^\tchar name\[20\];/&\n\tuint64_t when;/; s/^\(int rngclient_event_next.*\)struct rngclient_event \*event/\1struct rngclient_epoch *event/' \
	$C 's/struct rngclient_event \*event/struct rngclient_epoch *event/; s/event->notifier/event->epoch/'
changed 'a member in the padding at the end' bad "$other" $H 's/^\tuint32_t epoch;.*/&\n\tuint32_t more;/'
changed 'a member behind the padding' good "$there" $H 's/^\tuint32_t epoch;.*/&\n\tuint64_t more;/'
changed 'a member at the end, of one without' bad "$other" $H 's/^\tuint32_t number;/&\n\tuint32_t more;/'
changed 'a private struct' good "$there" client/local.h 's/^\tint fd;/\tint other;\n&\n\tchar more[100];/; s/uint64_t state/uint32_t state/'
changed 'a constant with another value' bad 'RNGCLIENT_STATUS_BYTES = 100' $H 's/BYTES 100/BYTES 50/'
changed 'a constant less' bad 'RNGCLIENT_STATUS_BYTES = 100' $H '/BYTES 100/d'
changed 'an enumerator with another value' bad 'RNGCLIENT_SERVING = 1' $H 's/SERVING = 1/WAITING = 1,\n\tRNGCLIENT_SERVING = 2/'
changed 'constants more' good 'constants of v0.1.0 have their values' $H 's/SERVING = 1/&,\n\tRNGCLIENT_WAITING = 2/; $a #define RNGCLIENT_MORE 1'
changed 'another version string' good "$there" $H 's/"0.2.0"/"0.3.0"/'
changed 'what does not build' bad 'the library of this tree does not build' $C 's/return 0;/return nothing;/'

# ---------------------------------------------------------------- of several tags the right one
git checkout -qb other && sed -i '/^\trngclient_look;/d' $M && git commit -qam 'other' && git tag v9.0.0
git checkout -q main
expect 'the newest tag is on another branch' good "$there"
git commit -q --allow-empty -m 2 && git tag v0.2.0-rc1 && git tag v0.2.0
git commit -q --allow-empty -m 3 && git tag v0.10.0 && git tag v0.9.0
expect 'by version, not by name' good 'functions of v0.10.0 are all there'
git tag -d v0.10.0 v0.9.0 >/dev/null
expect 'the release, not its candidate' good 'functions of v0.2.0 are all there'
ABI_TAG=v9.0.0 expect 'the tag that is asked for' good 'functions of v9.0.0 are all there; new: int rngclient_look'
ABI_TAG=v7.7.7 expect 'a tag that is not there' bad 'v7.7.7 cannot be read'
[ -z "$(git status --porcelain)" ] && passed=$((passed + 1)) || {
	echo "FAIL   abi leaves $(git status --porcelain)"
	failed=$((failed + 1))
}

# ---------------------------------------------------------------- a clone without history
git commit -q --allow-empty -m 4
git clone -q --depth 1 --no-tags "file://$base" "$work/shallow" && cd "$work/shallow" || exit 1
expect 'a shallow clone' good 'SKIP: no release tag in this shallow clone'
git fetch -q --depth 1 origin tag v0.1.0 tag v0.2.0 tag v0.2.0-rc1 tag v9.0.0
expect 'a shallow clone with tags' good 'functions of v0.2.0 are all there'
changed 'one with a change' bad 'functions of v0.2.0 are not what they were' $M '/rngclient_look;/d'

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]

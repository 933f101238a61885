#!/bin/sh
# demo.sh - what `make run` shows: a private rngd, bytes from it, its status, a clean stop.
set -eu
: "${BUILD:?the build directory}"
dir=$(mktemp -d /dev/shm/rngd-run.XXXXXX)
chmod 755 "$dir"
socket=$dir/rngd.sock
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT

echo "+ $BUILD/rngd --socket $socket &"
"$BUILD/rngd" --socket "$socket" &
pid=$!
tries=0
until "$BUILD/rngcli" --socket "$socket" 1 >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ $tries -gt 500 ] || ! kill -0 "$pid" 2>/dev/null; then
		echo "rngd did not start" >&2
		exit 1
	fi
	sleep 0.02
done

echo "+ $BUILD/rngcli --socket $socket --hex 32"
"$BUILD/rngcli" --socket "$socket" --hex 32
echo "+ $BUILD/rngcli --socket $socket --uuid"
"$BUILD/rngcli" --socket "$socket" --uuid
echo "+ $BUILD/rngcli --socket $socket 64M | wc -c"
"$BUILD/rngcli" --socket "$socket" 64M | wc -c
echo "+ $BUILD/rngcli --socket $socket status"
"$BUILD/rngcli" --socket "$socket" status
echo "+ kill \$rngd_pid"
kill "$pid"
wait "$pid"
pid=
echo "rngd has stopped."

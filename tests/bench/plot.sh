#!/bin/sh
# plot.sh SWEEP.json DIRECTORY - draws what a sweep measured: bench-throughput.svg, the rate over the size of a request,
# and bench-latency.svg, how long 32 bytes take over the number of connections that all wait for some.
set -eu
sweep=$1 directory=$2
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT

# rate NAME FIELD - size and rate of the rows of that name.
rate() {
	jq -r --arg name "$1" --arg field "$2" '.rows[] | select(.group == "sweep-size" and .name == $name)
		| [.size_bytes, .[$field]] | @tsv' "$sweep"
}

# latency FIELD - connections, median, 99th percentile.
latency() {
	jq -r --arg field "$1" '[.rows[] | select(.group == "sweep-crowd")] | group_by(.connections)[]
		| [.[0].connections, (.[] | select(.name == "p50") | .[$field]), (.[] | select(.name == "p99") | .[$field])]
		| @tsv' "$sweep"
}

rate socket ours >"$data/socket"
rate socket theirs >"$data/bare"
rate 'local generator' ours >"$data/local"
rate 'local generator' theirs >"$data/getrandom"
latency ours >"$data/crowd"
latency theirs >"$data/bare-crowd"
for file in "$data"/*; do
	[ -s "$file" ] || {
		echo "plot: $sweep has no rows for ${file##*/}" >&2
		exit 1
	}
done
# In gnuplot's single quotes, and taken as it is (noenhanced): a quote alone could end it.
where=$(jq -r '"\(.machine.cpu), \(.machine.processors) processors, Linux \(.machine.kernel), \(.date[:10])"' "$sweep" |
	tr -d "'")

gnuplot <<END
set terminal svg size 840,560 font 'sans-serif,13' background rgb 'white'
set grid
set logscale xy
set key outside bottom center vertical maxrows 2 Left reverse
set format y '%g'
set label 1 '$where' at graph 0.99,0.03 right noenhanced font ',10'
set style data linespoints
set style line 1 lw 2 pt 7 ps 0.5 lc rgb '#0050a0'
set style line 2 lw 2 pt 5 ps 0.5 lc rgb '#c05000'
set style line 3 lw 2 pt 9 ps 0.5 lc rgb '#808080'
set style line 4 lw 2 pt 11 ps 0.5 lc rgb '#208040'
set style line 5 lw 2 pt 7 ps 0.5 dt 2 lc rgb '#0050a0'
set style line 6 lw 2 pt 9 ps 0.5 dt 2 lc rgb '#808080'

set output '$directory/bench-throughput.svg'
set title "One thread, one request after the other\n{/*0.8 (bare server: the same frames, constant bytes)}"
set xlabel 'bytes a request'
set ylabel 'GB/s'
set xtics ('16' 16, '64' 64, '256' 256, '1 Ki' 1024, '4 Ki' 4096, '16 Ki' 16384, '64 Ki' 65536, '256 Ki' 262144, '1 Mi' 1048576, '4 Mi' 4194304)
set xrange [16:4194304]
plot '$data/local' ls 4 title 'local generator', '$data/socket' ls 1 title 'rngclient\_get() of rngd', \\
	'$data/bare' ls 3 title 'the same of the bare server', '$data/getrandom' ls 2 title 'getrandom(2)'

set output '$directory/bench-latency.svg'
set title "Each connection always waits for 32 bytes\n{/*0.8 (bare server: the same frames, constant bytes)}"
set xlabel 'connections'
set ylabel 'microseconds'
set xtics (1, 4, 16, 64, 256, 1024, 4096)
set xrange [1:4096]
plot '$data/crowd' using 1:2 ls 1 title 'rngd, median', '$data/crowd' using 1:3 ls 5 title 'rngd, 99th percentile', \\
	'$data/bare-crowd' using 1:2 ls 3 title 'bare server, median', \\
	'$data/bare-crowd' using 1:3 ls 6 title 'bare server, 99th percentile'
END
echo "$directory/bench-throughput.svg $directory/bench-latency.svg"

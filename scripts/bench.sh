#!/bin/sh
# Runs the benchmarks and writes what they found to docs/benchmarks-run.md, as it is:
# docs/benchmarks.md says what it means. Usage: scripts/bench.sh [PATTERN]; with a pattern
# it only prints.
set -eu
cd "$(dirname "$0")/.."
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"${GO:-go}" test -run '^$' -bench "${1:-.}" -benchtime 1x -timeout 60m ./test/bench | tee "$out"
if grep -q '^--- FAIL\|^FAIL' "$out"; then
	exit 1
fi
[ $# -eq 0 ] || exit 0
page=docs/benchmarks-run.md
{
	echo '# The last run of `make bench`'
	echo
	echo "$(date -u +%Y-%m-%d), $(nproc) cores, load of the last 1 and 15 minutes: $(cut -d' ' -f1,3 /proc/loadavg), Linux $(uname -r), $(ssh -V 2>&1 | cut -d, -f1)."
	echo "A ratio is ours through the peer's, both in this run; [benchmarks.md](benchmarks.md) names peers and goals."
	echo
	echo '| benchmark | figures |'
	echo '|---|---|'
	awk '/^Benchmark/ { name = $1; sub(/-[0-9]+$/, "", name); line = ""; for (i = 3; i < NF; i += 2) if ($(i+1) != "ns/op") line = line (line ? ", " : "") $(i+1) " " $i; print "| " name " | " line " |" }' "$out"
} >"$page"
echo "written: $page" >&2

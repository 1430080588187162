#!/usr/bin/env bash
# Long campaigns: every fuzz target for FUZZTIME (default 60s), then the full circle
# with every package and every moment of a crash, every request of a box that fails, a fleet of 500 hosts and 10,000
# commands through one client, transfers that are cut, large and many, 900 tasks on 300 targets while processes and
# PostgreSQL are killed, the same through the front door of three servers, a team at work on one, then the tests again and
# again (SOAK_COUNT, default 5).
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
for dir in $(git grep -lE '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u); do
		echo "== $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-60s}" "./$dir"
	done
done
BOWLINE_CIRCLE=full go test -count 1 -timeout 1h ./test/circle
BOWLINE_TRANSFER=full go test -count 1 -timeout 1h -v -run 'TestResumeAfterCut|TestLargeFile|TestLargeTree' ./internal/transfer/copier
BOWLINE_BOXES=full go test -count 1 -timeout 1h -v -run TestFaults ./internal/box
BOWLINE_FLEET=full go test -count 1 -timeout 1h -v -run 'TestTroubledFleet|TestCommands' ./test/integration
BOWLINE_SCALE=full go test -count 1 -timeout 1h -v -run TestChaos ./internal/worker
BOWLINE_LOAD=full go test -count 1 -timeout 1h -v ./test/load
BOWLINE_SCALE=full go test -count 1 -timeout 1h -v ./test/scale
go test -p 1 -count "${SOAK_COUNT:-5}" -timeout 2h ./...

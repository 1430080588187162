# Everything starts here. The two commands of the README are "make demo" and
# "make test"; both install what they need on Debian and Ubuntu (as root or
# through sudo), and leave nothing running and nothing behind.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
export CGO_ENABLED = 0
BUILD   = $(GO) build -trimpath -ldflags="-s -w -X main.version=$(VERSION)"

.PHONY: all build helpers generate demo test check bench soak fuzz docs clean

all: build

build: helpers ## bin/bowline
	$(BUILD) -o bin/bowline ./cmd/bowline

helpers: ## the programs for targets, packed for embedding
	$(GO) run ./internal/helperbin/build

generate: ## the pages of the server, from their templates
	$(GO) tool -modfile=tools/go.mod templ generate -path internal/web

demo: ## show the main job from end to end on a throwaway host
	scripts/deps.sh demo
	$(MAKE) --no-print-directory build
	scripts/demo.sh

test: ## set up what the tests need, and run them all
	scripts/deps.sh test
	$(MAKE) --no-print-directory build
	scripts/test.sh

check: ## what a change must pass: format, vet, lint, vulnerabilities, tidy, race, cross-compile, size
	scripts/deps.sh check
	scripts/check.sh

bench: ## ratios against real peers, in one run
	scripts/deps.sh bench
	$(MAKE) --no-print-directory build
	GO="$(GO)" scripts/bench.sh

soak: ## long campaigns: every fuzz target for FUZZTIME, repeated tests
	scripts/deps.sh test
	scripts/soak.sh

docs: ## docs/cli.md and man pages from the help texts
	$(GO) run ./internal/gendocs

clean:
	rm -rf bin

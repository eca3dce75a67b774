# make test    all that must hold before a commit: checks, tests, short drills
# make help    the rest

.DEFAULT_GOAL := help
SHELL := /bin/sh

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
E2E := internal/e2e
# Debian packages that the end-to-end tests drive; everything else comes with Go.
PACKAGES := bind9 bind9-dnsutils buildah curl iproute2 knot nsd openssl pdns-backend-sqlite3 pdns-server postfix postfix-mta-sts-resolver postgresql prometheus runc sqlite3 unbound
FUZZTIME ?= 1m
BENCHTIME ?= 1s
SOAK ?= 35m
BENCHCOUNT ?= 1
# Further flags of bench/compare, as "-peers-up-to 100000".
COMPARE ?=

.PHONY: help build setup check test fuzz drill soak compare compare-full bench cover image

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## the program, static, in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=$(VERSION)" -o bin/mtasts-server ./cmd/mtasts-server

setup: ## the Debian packages that the tests need, where they are missing (root or sudo)
	@missing=$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || printf '%s ' $$p; done); \
	if [ -n "$$missing" ]; then \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		echo "installing $$missing"; \
		$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
	fi

check: ## formatters, linters, tidiness
	@out=$$(go tool gofumpt -l .); if [ -n "$$out" ]; then echo "run: go tool gofumpt -w ." >&2; echo "$$out" >&2; exit 1; fi
	go mod tidy -diff
	go vet ./...
	go tool staticcheck ./...
	staticcheck=$$(go tool -n staticcheck); for module in $(E2E) bench; do \
		(cd $$module && go mod tidy -diff && go vet ./... && $$staticcheck ./...) || exit 1; \
	done

test: setup check ## everything that must hold
	go test -race -timeout 20m ./...
	go test -run '^TestLong' ./internal/reports ./internal/review # with -race they would take minutes, and skip
	cd $(E2E) && go test -race -timeout 30m ./...

fuzz: ## each fuzz test for FUZZTIME
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

drill: ## kill -9 two hundred times, a thousand reloads under load, hostile clients, a year at 20,000 hosts
	cd $(E2E) && MTASTS_DRILL_ROUNDS=200 MTASTS_DRILL_RELOADS=1000 MTASTS_HOSTILE_SECONDS=30 MTASTS_REPORT_STRANGERS=10000 MTASTS_BOMB_ROUNDS=10 go test -timeout 2h -v -run 'Drill|Reloads|Hostile|ReportsKill|ReportsBombs|ReportsStrangers' ./...
	MTASTS_YEAR_HOSTS=20000 go test -timeout 2h -v -run TestYear ./certs

soak: ## a day in fast forward: renewals, edits, good senders and bad strangers for SOAK
	cd $(E2E) && MTASTS_SOAK=$(SOAK) go test -timeout 25h -v -run TestSoak ./...

compare: ## beside nginx, HAProxy and Caddy, where they are installed, ten minutes: CPU per fetch, start, memory, edits
	@cd bench && go run ./compare -rounds 3 -d 2s $(COMPARE)

compare-full: ## the same for docs/performance.md: up to 100,000 domains and a thousand edits under load, an hour
	@cd bench && go run ./compare -rounds 9 -domains 1,10000,100000 -edits 1000 $(COMPARE)

bench: ## benchmarks of every package, BENCHCOUNT times, as benchstat reads them
	@go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -count $(BENCHCOUNT) ./...

cover: ## test coverage, by function
	go test -coverprofile=cover.out -coverpkg=./... ./... && go tool cover -func=cover.out

image: ## the container image
	buildah build --format docker --build-arg VERSION=$(VERSION) -t mtasts-server .

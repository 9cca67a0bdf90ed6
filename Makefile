# Everything a developer runs. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/tenantry/tenantry/internal/app.Version=$(VERSION)
GOLANGCI_LINT_VERSION := v2.15.0

# Packages whose tests need no server on this machine.
QUICK := ./internal/auth ./internal/config ./internal/http/... ./internal/mail ./internal/pgerr \
	./internal/pipeline ./internal/placement ./internal/secrets/... ./internal/tenancy ./cmd/vault-emulator

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: deps ## run a whole development plane here; ARGS="--data-dir .dev" keeps its data
	@go build -ldflags '$(LDFLAGS)' -o bin/tenantctl ./cmd/tenantctl
	@exec bin/tenantctl dev $(ARGS)

.PHONY: test
test: deps ## run every test: real Postgres, real Redis, a real browser, the race detector
	@scripts/deps browser
	go test -race -shuffle=on -timeout 20m ./...

.PHONY: test-short
test-short: ## run the tests that need no server, without the race detector
	go test $(QUICK)

.PHONY: crash
crash: deps ## kill workers at every point and look at what they leave
	go test -tags crashpoints -run '^TestCrash' -count=1 -v -timeout 20m ./internal/crashtest

.PHONY: soak
soak: deps ## provision N=100 tenants under random faults; SEED=… repeats a run
	SOAK_N=$(N) SOAK_SEED=$(SEED) go test -tags crashpoints -run '^TestSoak$$' -count=1 -v -timeout 2h ./internal/crashtest

.PHONY: bench
bench: deps ## measure the promised speed, into docs/benchmarks.md; BENCH_QUICK=1 takes a minute and prints only
	go run ./bench

.PHONY: screens
screens: deps ## take the pictures of docs/screens: every page, light, dark and narrow
	@scripts/deps browser
	rm -rf docs/screens && mkdir -p docs/screens
	SCREENS=$(CURDIR)/docs/screens go test -run '^TestEveryScreen$$' -count=1 ./cmd/tenantctl

.PHONY: lint
lint: bin/golangci-lint-$(GOLANGCI_LINT_VERSION) ## check style, mistakes and the dependency rule
	bin/golangci-lint-$(GOLANGCI_LINT_VERSION) run ./...

bin/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(CURDIR)/bin/install go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/install/golangci-lint $@

.PHONY: generate
generate: ## write what is generated: docs/cli.md, docs/mail
	go generate ./...

.PHONY: build
build: ## build the programs into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w $(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: deps
deps:
	@scripts/deps

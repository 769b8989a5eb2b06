# `make help` lists the targets. Each of them covers every module of this repository, but that tests which need programs built and
# take minutes are targets of their own: programs, e2e for those of ./test, clients and browser for those of ./clients and ./browser.

GO            ?= go
FUZZTIME      ?= 10s
BENCHTIME     ?= 1s
TIMEOUT       ?= 30m
# Many tests wait for clocks more than they compute.
PARALLEL      ?= 8
DURATION      ?= 5m
PORT          ?= 1053
PLATFORMS     ?= linux/amd64 linux/arm64
BIN           ?= bin
ACTIONLINT    ?= $(GO) run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GOVULNCHECK   ?= $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOLANGCI_LINT ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

MODULES := $(shell find . -name go.mod -not -path '*/testdata/*' -not -path './test/*' -not -path './clients/*' -not -path './browser/*' -exec dirname {} \; | sort)

# in runs a command in each of some folders and stops at the first that fails; each does in the folder of every module.
in = @set -e; for module in $(1); do echo "-- $$module: $(2)"; (cd "$$module" && $(2)); done
each = $(call in,$(MODULES),$(1))

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-10s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## start a DNS server on 127.0.0.1:1053 that answers from examples
	$(GO) run ./cmd/coredns -conf Corefile.example

# vet prints what it compiles, with the race detector as the tests want it. The rest of vet's files have their turn in variant.
.PHONY: test
test: ## vet, and test under the race detector (the first time compiles CoreDNS and Kubernetes' client, for minutes)
	$(GO) vet -race ./.ci/ask ./.ci/rooms # the pattern ./... leaves out folders whose names start with a dot
	$(call each,$(GO) vet -race -v ./...)
	$(call each,$(GO) test -race -parallel $(PARALLEL) -timeout $(TIMEOUT) ./...)

.PHONY: race
race: test ## the same as test, which always uses the race detector

.PHONY: variant
variant: ## build the variant named kubernetes and run its tests
	$(call each,$(GO) vet -tags kubernetes ./...)
	$(call each,$(GO) build -tags kubernetes ./...)
	$(call each,$(GO) test -tags kubernetes -parallel $(PARALLEL) -timeout $(TIMEOUT) ./...)

# The tests that `make test` and `make variant` skip: of what a release holds, of CoreDNS as the variant and as the small build, and
# of the alerts with promtool. Their results are not cached, for go test does not know what the programs are made of.
.PHONY: programs
programs: export HEADLESS_TEST_PROGRAMS = 1
programs: ## build a release and Prometheus' promtool and test with them (the first time takes minutes)
	cd deploy/prometheus && $(GO) build -tags remove_all_sd -v -o /dev/null tool
	$(call in,cmd/coredns deploy/prometheus release,$(GO) test -race -count 1 -timeout $(TIMEOUT) -v .)
	$(call in,cmd/coredns deploy/prometheus,$(GO) test -tags kubernetes -count 1 -timeout $(TIMEOUT) -v .)
	$(call in,cmd/coredns,$(GO) test -tags small -count 1 -timeout $(TIMEOUT) -v .)

.PHONY: lint
lint: ## run golangci-lint as .golangci.yml says, and actionlint on .github/workflows
	$(call in,$(MODULES) test clients browser,$(GOLANGCI_LINT) run -c $(CURDIR)/.golangci.yml ./...)
	$(GOLANGCI_LINT) run ./.ci/ask ./.ci/rooms
	$(ACTIONLINT) -shellcheck= -pyflakes=

.PHONY: fmt
fmt: ## format the code as lint wants it
	$(GOLANGCI_LINT) fmt

.PHONY: picture
picture: ## draw docs/rooms.svg, the packages and who imports whom, from the code
	$(GO) run ./.ci/rooms >docs/rooms.svg

.PHONY: man
man: ## make bin/headless.7, the manual page, of docs/options.md and docs/records.md
	@mkdir -p $(BIN)
	$(GO) -C docs run ./man >$(BIN)/headless.7

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	$(call each,GO=$(GO) FUZZTIME=$(FUZZTIME) $(CURDIR)/.ci/fuzz)

.PHONY: kubefuzz
kubefuzz: FUZZTIME = 3m
kubefuzz: ## fuzz what reads the API server against Kubernetes' own code, each target for FUZZTIME (3m): before a bump of k8s.io
	cd internal/kube && GO=$(GO) FUZZTIME=$(FUZZTIME) $(CURDIR)/.ci/fuzz

.PHONY: vulncheck
vulncheck: ## look for known vulnerabilities with govulncheck, which asks vuln.go.dev
	$(call each,$(GOVULNCHECK) ./...)

.PHONY: soak
soak: ## inject faults of all kinds into a server for DURATION (5m) and judge each answer (needs Linux)
	$(GO) test -race -count 1 -timeout 0 -v -run '^TestSoak$$' ./internal/soak -args -soak.duration $(DURATION)

.PHONY: e2e
e2e: bin/cluster bin/coredns ## test against a Kubernetes control plane, next to kubernetes (minutes; needs Linux)
	cd test && $(GO) test -count 1 -timeout 0 -v ./... $(E2E)

.PHONY: clients
clients: bin/coredns ## test with HAProxy, Unbound, BIND, NSD, Knot and Prometheus, as far as they are installed, and memberlist (minutes; needs Linux)
	cd clients && $(GO) test -race -count 1 -timeout $(TIMEOUT) -v ./...

.PHONY: dashboard
dashboard: bin/coredns ## draw docs/dashboard.svg, the panels of the dashboard, from what Prometheus measures in the test of it
	@command -v prometheus >/dev/null || { echo 'prometheus is not installed: it is in the package prometheus of Debian'; exit 1; }
	cd clients && $(GO) test -count 1 -timeout $(TIMEOUT) -v -run '^TestDashboard$$' . -args -picture ../docs/dashboard.svg

AXE ?=

.PHONY: browser
browser: bin/coredns bin/sandbox ## test the page of insight in Chromium, if it is installed; AXE=PATH of axe-core's axe.min.js adds accessibility (minutes)
	cd browser && $(GO) test -race -count 1 -timeout $(TIMEOUT) -v . $(if $(AXE),-axe $(AXE))

.PHONY: pictures
pictures: bin/cluster bin/coredns bin/sandbox ## draw docs/tour, a picture for each step of the tour, in Chromium
	cd browser && $(GO) test -count 1 -timeout $(TIMEOUT) -v -run '^TestTour$$' . -tour ../docs/tour

.PHONY: sandbox
sandbox: bin/cluster bin/coredns bin/sandbox ## start a Kubernetes control plane on loopback and a DNS server on 127.0.0.1:PORT (1053) for it
	bin/sandbox -port $(PORT)

.PHONY: tour
tour: bin/cluster bin/coredns bin/sandbox ## the same, with what happens to a cluster shown step by step; AUTO=1 goes on by itself
	bin/sandbox -port $(PORT) -tour $(if $(AUTO),-auto)

.PHONY: microbench
microbench: ## run each Go benchmark for BENCHTIME (1s)
	$(call each,$(GO) test -timeout $(TIMEOUT) -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...)

.PHONY: bench
bench: bin/bench ## compare with other plugins and servers, and write BENCHMARKS.md (20 minutes; needs Linux and two cores)
	bin/bench matrix -markdown BENCHMARKS.md -plot bench/cost.svg $(BENCH)

.PHONY: quickbench
quickbench: bin/bench ## fail if a reply is wrong or the cost grows with the cluster (a minute; needs Linux and two cores)
	bin/bench matrix -quick

.PHONY: bin/cluster
bin/cluster:
	@[ -e $@ ] || echo 'compiling Kubernetes, which takes 10 to 15 minutes on two cores; once, later seconds'
	cd test && $(GO) build -ldflags '-s -w' -o ../bin/cluster ./cmd/cluster

.PHONY: bin/sandbox
bin/sandbox:
	cd test && $(GO) build -o ../bin/sandbox ./cmd/sandbox

.PHONY: bin/coredns
bin/coredns:
	$(GO) build -o bin/coredns ./cmd/coredns

.PHONY: bin/bench
bin/bench:
	cd bench && $(GO) build -o ../bin/bench .

# Whatever the environment says: a version is noted in each binary, and nothing of this machine.
RELEASED := GOFLAGS= CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags '-s -w'

.PHONY: binaries
binaries: ## build the commands for each of PLATFORMS, statically linked, and write down which modules are in them
	rm -rf $(BIN)/build
	@set -e; for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/}; out=$(BIN)/build/$$os-$$arch; echo "-- $$out"; mkdir -p $$out; \
		GOOS=$$os GOARCH=$$arch $(RELEASED) -o $$out/ ./cmd/...; \
		(cd kubectl-dns && GOOS=$$os GOARCH=$$arch $(RELEASED) -o $(abspath $(BIN))/build/$$os-$$arch/ .); \
		if [ $$os = linux ]; then GOOS=$$os GOARCH=$$arch $(RELEASED) -tags small -o $$out/coredns-small ./cmd/coredns; fi; \
	done
	@set -e; for binary in $(abspath $(BIN))/build/*/*; do \
		$(GO) -C release tool cyclonedx-gomod bin -json -std -noserial -notimestamp -output $$binary.cdx.json $$binary; \
	done

.PHONY: $(BIN)/release
$(BIN)/release:
	$(GO) -C release build -o $(abspath $(BIN))/release .

.PHONY: image
image: binaries $(BIN)/release ## write bin/image.tar and image-small.tar, which container engines load, for each of PLATFORMS
	$(BIN)/release -bin $(BIN) $(if $(IMAGE),-image $(IMAGE)) image

.PHONY: dist
dist: PLATFORMS = linux/amd64 linux/arm64 darwin/arm64 windows/amd64
dist: binaries $(BIN)/release ## write bin/dist, which holds what a release does: the same octets wherever it is made
	$(BIN)/release -bin $(BIN) $(if $(IMAGE),-image $(IMAGE)) dist

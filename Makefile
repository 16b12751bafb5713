# What there is to do here: "make help". For GNU make from 3.81 on, which is the one that macOS has.

FUZZTIME  = 30s
TESTFLAGS =
SOAK      = 1m
ROUNDS    = 60x
VULNDB    = https://vuln.go.dev

# The folders of the modules, without that of the tools.
modules = . $(patsubst %/go.mod,%,$(filter-out tools/%,$(wildcard */go.mod */*/go.mod)))

# In each of them: $(call each,command). It stops at the first that fails.
each = @for m in $(modules); do (set -x; cd $$m && $(1)) || exit 1; done

# The tools are built from tools/go.mod, whose go.sum pins them, and stay in Go's build cache.
tool = go tool -modfile='$(CURDIR)/tools/go.mod'

.PHONY: help setup test soak lint dependencies fuzz cover
.PHONY: bench bench-full bench-sqlite

help:
	@echo 'make setup          install the servers that the tests start, where they are missing'
	@echo 'make test           all tests, with the race detector; TESTFLAGS="-v -run Redis" adds flags'
	@echo 'make soak           each store used for SOAK=$(SOAK) while faults come and go, and what came of it'
	@echo 'make lint           formatting, go vet, golangci-lint, go.mod, what packages depend on, govulncheck'
	@echo 'make dependencies   write docs/dependencies.txt anew, where a change of it is meant'
	@echo 'make fuzz           each fuzz target for FUZZTIME=$(FUZZTIME)'
	@echo 'make bench          what a cache costs beside the bare client and other caches, in short: docs/benchmarks.md'
	@echo 'make bench-full     the same with all values and operations: a quarter of an hour'
	@echo 'make bench-sqlite   the SQLite backend beside others, in ROUNDS=$(ROUNDS); writes there too'
	@echo 'make cover          how much of the packages the tests cover; then: go tool cover -html=cover.out'

setup:
	@sh tools/setup.sh

# The time limit is for slow machines. The race detector needs cgo, which Go turns off by itself where it finds no C compiler.
test: setup
	$(call each,CGO_ENABLED=1 go test -race -timeout=30m $(TESTFLAGS) ./...)

# "make test" has it too, for some seconds.
soak: setup
	CGO_ENABLED=1 go test -race -run=TestSoak -v -timeout=0 . -soak=$(SOAK)

lint:
	@files=$$(gofmt -l -s .); [ -z "$$files" ] || { echo "run gofmt -s -w on:" $$files >&2; exit 1; }
	$(call each,go vet ./...)
	$(call each,$(tool) golangci-lint run ./...)
	$(call each,go mod tidy -diff)
	@(set -x; cd tools && go mod tidy -diff)
	@if grep -n '^toolchain' go.mod; then echo 'go.mod: a toolchain line binds our users; remove it' >&2; exit 1; fi
	@sh tools/dependencies.sh | diff -u docs/dependencies.txt - || \
		{ echo 'packages depend on other modules than before; if that is meant: make dependencies' >&2; exit 1; }
	@sh tools/vulnerabilities.sh '$(VULNDB)' $(modules)

dependencies:
	sh tools/dependencies.sh >dependencies.out && mv dependencies.out docs/dependencies.txt

fuzz:
	@for file in $$(grep -rl '^func Fuzz' --include='*_test.go' .); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			(set -x; cd $$(dirname $$file) && go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) .) || exit 1; \
		done; done

# What the library costs beside the bare clients and other caches; two minutes once all is built.
bench: setup
	cd benchmarks && go test ./peers -run='^$$' -bench=. -short -benchtime=20x -count=3 -timeout=0 -write='make $@'
	cd benchmarks && go test ./size -count=1 -write='make $@'

bench-full: setup
	cd benchmarks && go test ./peers -run='^$$' -bench=. -benchtime=5x -count=10 -timeout=0 -write='make $@' >bench.out || { cat bench.out; exit 1; }
	@$(tool) benchstat benchmarks/bench.out

bench-sqlite:
	cd benchmarks && CGO_ENABLED=1 go test ./sqlite -run='^$$' -bench=. -benchtime=$(ROUNDS) -timeout=0 -write='make $@'

cover: setup
	go test -coverpkg=./... -coverprofile=all.out ./...
	@grep -v -e /examples/ -e /internal/testserver/ all.out >cover.out
	@go tool cover -func=cover.out | tail -n 1

# Everything that is done to this repository is a target here: at home, in CI, by
# anybody. `make` lists them. It needs Go, a C compiler (for -race), Node with npm,
# Python and PHP (whose receivers are tested), Chromium (in which pages are) and, to be
# quick, PostgreSQL's server binaries.

# Modules of the workspace, each with its own go.mod; tools/ is not among them.
MODULES  := . ./services/api ./services/worker ./services/oauth ./services/standalone ./e2e ./bench
PACKAGES := $(MODULES:%=%/...)
# Whole-system tests measure times: they run last and alone.
UNIT     := $(filter-out ./e2e/...,$(PACKAGES))

# What `make generate` writes, wholly: check-generated compares it with what is committed.
GENERATED := pkg/store/db services/api/internal/openapi services/oauth/internal/openapi docs/events.md web/client/src/openapi.gen.ts

FUZZTIME ?= 30s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## run everything in one process; state lives in .primezap/
	@go build -o bin/standalone ./services/standalone && exec bin/standalone

.PHONY: build
build: ## build the programs into bin/
	go build -o bin/ ./cmd/migrate ./cmd/metatest ./services/api/cmd/api ./services/worker/cmd/worker ./services/oauth/cmd/oauth ./services/standalone

.PHONY: test
test: deps fmt-check vet ## check format, vet, and run all tests with -race
	go test -race -vet=off -timeout 15m $(UNIT)
	npm --prefix web test
	go test -race -vet=off -timeout 15m -count=1 ./e2e/...

.PHONY: fmt-check
fmt-check: ## name the files that gofmt would change
	@unformatted=$$(find . -name node_modules -prune -o -name '*.go' -exec gofmt -l {} +) || exit; \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet: ## run go vet
	go vet $(PACKAGES)

.PHONY: fuzz
fuzz: ## fuzz each fuzz test for FUZZTIME (30s)
	@grep -rlE --include='*_test.go' --exclude-dir=node_modules '^func Fuzz' . | while read -r file; do \
		for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "$$name in $$(dirname "$$file")"; \
			go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
		done; \
	done

.PHONY: bench
bench: ## measure the delivery path against the raw ceiling
	go run ./bench

.PHONY: lint
lint: bin/golangci-lint web/node_modules/.package-lock.json ## run golangci-lint and biome
	bin/golangci-lint run $(PACKAGES)
	npm --prefix web run lint

.PHONY: fmt
fmt: bin/golangci-lint web/node_modules/.package-lock.json ## format all code
	bin/golangci-lint fmt $(PACKAGES)
	npm --prefix web run fmt

.PHONY: generate
generate: bin/sqlc bin/oapi-codegen web/node_modules/.package-lock.json ## write what is made from db/queries, api/openapi.yaml and pkg/event/catalog
	bin/sqlc compile
	rm -f pkg/store/db/*.go # a query file that is gone takes its code along
	bin/sqlc generate
	bin/oapi-codegen -config services/api/oapi.yaml api/openapi.yaml
	bin/oapi-codegen -config services/oauth/oapi.yaml api/openapi.yaml
	npm --prefix web run generate
	go run ./pkg/event/internal/eventdoc docs/events.md

.PHONY: check-generated
check-generated: generate ## fail when the generated code is not the committed one
	@git diff --exit-code --stat -- $(GENERATED) && \
	untracked=$$(git ls-files --others --exclude-standard -- $(GENERATED)) && \
	if [ -n "$$untracked" ]; then echo "not committed:"; echo "$$untracked"; exit 1; fi

# Folders with a package-lock.json of their own.
NPM := pkg/webhook/interop web

.PHONY: deps
deps: $(NPM:%=%/node_modules/.package-lock.json) ## install the npm packages that tests use

$(NPM:%=%/node_modules/.package-lock.json): %/node_modules/.package-lock.json: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund
	@touch $@

web/node_modules/.package-lock.json: web/client/package.json web/browser/package.json

.PHONY: tools
tools: bin/sqlc bin/oapi-codegen bin/golangci-lint ## build the pinned tools into bin/

# The tools' versions are tools/go.mod's, and are no business of the workspace.
bin/sqlc: PACKAGE := github.com/sqlc-dev/sqlc/cmd/sqlc
bin/oapi-codegen: PACKAGE := github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen
bin/golangci-lint: PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
bin/sqlc bin/oapi-codegen bin/golangci-lint: tools/go.mod tools/go.sum
	cd tools && GOWORK=off go build -o ../$@ $(PACKAGE)
	@touch $@

.PHONY: tidy
tidy: ## tidy go.mod of every module
	@for module in $(MODULES) ./tools; do (cd $$module && GOWORK=off go mod tidy) || exit 1; done

.PHONY: clean
clean: ## remove what was built and installed here; leaves .primezap/ alone
	rm -rf bin bench/results $(NPM:%=%/node_modules) web/client/build web/client/dist web/browser/build

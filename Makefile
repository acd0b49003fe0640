# `make` alone lists what there is to do.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# With the simulated hypervisors and the control plane: what tests and the demo need, and the shipped program does not have.
FEATURES := --features simulator
# Where everything is built that is not the project's own: see tests/controlplane/build.sh.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/stevedore
SCRIPTS := .ci/run tests/controlplane/build.sh
DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
CHART_CRDS := charts/stevedore/files/crds

.PHONY: help demo test lint advisories crds docs clean control-plane build-tests build-demo

help: ## list what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the demo on a real control plane; KEEP=1 leaves it running to play with
	@$(MAKE) --no-print-directory -j2 control-plane build-demo
	$(CARGO) run $(FEATURES) --quiet -- demo $(if $(KEEP),--keep)

test: ## build all that the tests need, and run them
	@$(MAKE) --no-print-directory -j2 control-plane build-tests
	$(CARGO) test $(FEATURES) --doc
	$(CARGO) test $(FEATURES) --no-fail-fast --lib --test it

lint: $(DENY) ## check format, lints, documentation links, dependencies and scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets $(FEATURES) -- -D warnings
	$(CARGO) clippy -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps $(FEATURES)
	$(DENY) check bans licenses sources
	@for script in $(SCRIPTS); do bash -n $$script; done
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "shellcheck is not installed: scripts were only parsed"; fi

advisories: $(DENY) ## check the dependencies against the published advisories (fetches them)
	$(DENY) check advisories

crds: ## write the custom resource definitions into crds/ and the chart
	@mkdir -p crds $(CHART_CRDS)
	$(CARGO) run --quiet -- crds --dir crds
	@rm -f $(CHART_CRDS)/*.yaml && cp crds/*.yaml $(CHART_CRDS)/

docs: ## write what follows from the code into docs/
	@mkdir -p docs
	$(CARGO) run --quiet -- docs --dir docs

clean: ## remove what was built, the control plane too
	$(CARGO) clean
	rm -rf $(CACHE)/controlplane $(CACHE)/tools

control-plane: ## build etcd, Kubernetes' control plane, kubectl and helm from their Go modules (minutes, once)
	@tests/controlplane/build.sh >/dev/null

build-tests:
	$(CARGO) test $(FEATURES) --lib --test it --no-run

build-demo:
	$(CARGO) build $(FEATURES)

$(DENY):
	$(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --root $(CACHE)/tools/cargo-deny-$(DENY_VERSION)

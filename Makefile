# `make` alone lists what there is to do.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# With the simulated hypervisors and the control plane: what tests and the demo need, and the shipped program does not have.
FEATURES := --features simulator
# Where everything is built that is not the project's own: see tests/controlplane/build.sh.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/stevedore
SCRIPTS := .ci/run tests/controlplane/build.sh $(wildcard images/worker/*.sh)
# What runs inside guests is POSIX sh: each of these with what goes in front of it, and the programs of simulated guests.
GUEST_COMMON := src/guest/scripts/common.sh
GUARDED_COMMON := $(GUEST_COMMON) src/guest/scripts/guarded.sh
TASK_COMMON := $(GUARDED_COMMON) src/guest/scripts/tasks.sh
UPDATE_COMMON := $(GUARDED_COMMON) src/guest/scripts/updates.sh
TASK_COMMAND := src/guest/scripts/task_command.sh
TASK_SCRIPTS := $(filter-out $(TASK_COMMAND),$(wildcard src/guest/scripts/task_*.sh))
UPDATE_SCRIPTS := $(filter-out $(UPDATE_COMMON),$(wildcard src/guest/scripts/update*.sh))
GUEST_SCRIPTS := $(filter-out $(TASK_COMMON) $(UPDATE_COMMON) $(TASK_COMMAND) $(TASK_SCRIPTS) $(UPDATE_SCRIPTS),$(wildcard src/guest/scripts/*.sh))
STAND_INS := $(wildcard src/simulator/guest/stand_ins/*.sh)
# What makes rpm packages and installs them, in the image of the tests that need it.
DNF_PACKAGES := dnf dnf-plugins-core rpm createrepo-c
# What users run.
EXAMPLE_SCRIPTS := examples/sessions/lease.sh
# What the worker image itself runs.
IMAGE_SCRIPTS := images/worker/overlay/usr/lib/worker-image/root-uuid images/worker/leave-disks-alone
DENY_VERSION := 0.20.2
DENY := $(CACHE)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
CHART_CRDS := charts/stevedore/files/crds

.PHONY: help demo test test-guests test-recorded bench lint advisories crds docs clean control-plane worker-image guest-tools shellcheck build-tests build-demo

help: ## list what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the demo on a real control plane; KEEP=1 leaves it running, GUESTS=qemu boots real guests
	@$(MAKE) --no-print-directory -j2 control-plane build-demo $(if $(filter qemu,$(GUESTS)),guest-tools)
	$(if $(filter qemu,$(GUESTS)),image=$$(images/worker/cached.sh) && ) \
		$(CARGO) run $(FEATURES) --quiet -- demo $(if $(KEEP),--keep) $(if $(filter qemu,$(GUESTS)),--image "$$image")

test: ## build all that the tests need, and run them
	@$(MAKE) --no-print-directory -j2 control-plane build-tests
	$(CARGO) test $(FEATURES) --doc
	$(CARGO) test $(FEATURES) --no-fail-fast --lib --test it

test-guests: ## run what is tested in real guests: QEMU on the worker image (needs QEMU; root or a user namespace)
	@$(MAKE) --no-print-directory -j2 control-plane build-tests guest-tools
	image=$$(images/worker/cached.sh) && dnf_image=$$(EXTRA_PACKAGES="$(DNF_PACKAGES)" images/worker/cached.sh) && \
		STEVEDORE_WORKER_IMAGE=$$image STEVEDORE_DNF_IMAGE=$$dnf_image $(CARGO) test $(FEATURES) --no-fail-fast --test it -- real:: --ignored --nocapture --test-threads 2

# The recordings do not come with the project: RECORDED names the folder that holds recorded/ and its like.
test-recorded: ## replay all recorded exchanges against the simulator; RECORDED=FOLDER holds them
	RECORDED="$(RECORDED)" $(CARGO) test $(FEATURES) --test it -- --ignored --exact recorded::full::recorded_in_full --nocapture

bench: control-plane ## measure what docs/benchmarks.md tells, and write it (10 minutes on a quiet machine)
	$(CARGO) bench $(FEATURES) --bench figures -- --write docs/benchmarks.md

lint: $(DENY) ## check format, lints, documentation links, dependencies and scripts
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets $(FEATURES) -- -D warnings
	$(CARGO) clippy -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps $(FEATURES)
	$(DENY) check bans licenses sources
	@for script in $(SCRIPTS); do bash -n $$script; done
	@for script in $(STAND_INS) $(IMAGE_SCRIPTS) $(EXAMPLE_SCRIPTS) $(TASK_COMMAND); do sh -n $$script; done
	@for script in $(GUEST_SCRIPTS); do cat $(GUEST_COMMON) $$script | sh -n || { echo "in $$script"; exit 1; }; done
	@for script in $(TASK_SCRIPTS); do cat $(TASK_COMMON) $$script | sh -n || { echo "in $$script"; exit 1; }; done
	@for script in $(UPDATE_SCRIPTS); do cat $(UPDATE_COMMON) $$script | sh -n || { echo "in $$script"; exit 1; }; done
	@if command -v shellcheck >/dev/null; then $(MAKE) --no-print-directory shellcheck; \
		else echo "shellcheck is not installed: scripts were only parsed"; fi

advisories: $(DENY) ## check the dependencies against the published advisories (fetches them)
	$(DENY) check advisories

crds: ## write the custom resource definitions into crds/ and the chart
	@mkdir -p crds $(CHART_CRDS)
	$(CARGO) run --quiet -- crds --dir crds
	@rm -f $(CHART_CRDS)/*.yaml && cp crds/*.yaml $(CHART_CRDS)/

docs: ## write what follows from the code into docs/
	@mkdir -p docs
	$(CARGO) run --quiet -- docs --dir docs

worker-image: ## build the Debian image that workers boot from, and print where it is (2 minutes, once)
	@images/worker/cached.sh

guest-tools: ## see to it that the programs are there that real guests need: root gets them installed, others are told
	@images/worker/tools.sh qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils dnsmasq:dnsmasq-base ip:iproute2 \
		unshare:util-linux genisoimage:genisoimage wget:wget
	@test -e /usr/share/OVMF/OVMF_CODE_4M.fd || images/worker/tools.sh OVMF_CODE_4M.fd:ovmf

clean: ## remove what was built, the control plane and the worker image too
	$(CARGO) clean
	rm -rf $(CACHE)/controlplane $(CACHE)/tools $(CACHE)/worker-image

control-plane: ## build etcd, Kubernetes' control plane, kubectl and helm from their Go modules (minutes, once)
	@tests/controlplane/build.sh >/dev/null

shellcheck:
	@shellcheck $(SCRIPTS)
	@shellcheck -s sh $(STAND_INS) $(IMAGE_SCRIPTS) $(EXAMPLE_SCRIPTS) $(TASK_COMMAND)
	@for script in $(GUEST_SCRIPTS); do \
		cat $(GUEST_COMMON) $$script | shellcheck -s sh - || { echo "in $$script, after $(GUEST_COMMON)"; exit 1; }; done
	@for script in $(TASK_SCRIPTS); do \
		cat $(TASK_COMMON) $$script | shellcheck -s sh - || { echo "in $$script, after $(TASK_COMMON)"; exit 1; }; done
	@for script in $(UPDATE_SCRIPTS); do \
		cat $(UPDATE_COMMON) $$script | shellcheck -s sh - || { echo "in $$script, after $(UPDATE_COMMON)"; exit 1; }; done

build-tests:
	$(CARGO) test $(FEATURES) --lib --test it --no-run

build-demo:
	$(CARGO) build $(FEATURES)

$(DENY):
	$(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --root $(CACHE)/tools/cargo-deny-$(DENY_VERSION)

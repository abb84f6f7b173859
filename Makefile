# SPDX-License-Identifier: Apache-2.0
# make run and make test do all the set-up they need. The first time takes a few minutes, and says what it is doing.

VENV := .venv
PY := $(VENV)/bin/python
CONFORMANCE ?= ../shared/conformance
SPEC ?= ../shared/spec
FUZZ_SECONDS ?= 600
export CONFORMANCE SPEC

PIP = $(PY) -m pip --quiet --disable-pip-version-check
PYTEST = $(PY) -m pytest -q
# Folders too: their times tell of files that are gone.
SOURCES := setup.py pyproject.toml MANIFEST.in \
	$(shell find csrc src/falcolib rules -not -name '*.pyc' -not -name __pycache__ -not -path '*/.*')
ASAN = $(shell gcc -print-file-name=libasan.so) $(shell gcc -print-file-name=libstdc++.so.6)

.PHONY: help run test test-plain test-sanitized test-apiserver test-systemd build sanitized coverage bench check-instructions instructions soak fuzz docs lint clean
.DELETE_ON_ERROR:

help:
	@echo "make run       watch this machine with the default rules; where that can't be, replay the bundled capture"
	@echo "make test      the whole test suite, plain and under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make build     falcolib, installed in $(VENV)"
	@echo "make bench     instructions and time per event, next to Falco's"
	@echo "make check-instructions  that they are what was recorded; make instructions records them"
	@echo "make test-apiserver  k8s-config and audit2rbac with a real kube-apiserver, built from Debian's sources (10 minutes, the first time)"
	@echo "make test-systemd  deploy/falcolib.service under a real systemd, in a Debian that is unpacked for it (root; some minutes, the first time)"
	@echo "make soak      an hour of mixed load, watched live: does its memory grow? SHORT=1: ten minutes"
	@echo "make fuzz      the fuzzers, FUZZ_SECONDS each (default 600)"
	@echo "make coverage  the lines of the C core that the test suite runs"
	@echo "make docs      docs/fields.md and docs/events.md, from the tables"
	@echo "make lint      ruff, mypy, shellcheck, and the C core with all warnings as errors"
	@echo "make clean     removes what all these have made"
	@echo "PYTHON=python3.12 make … sets $(VENV) up with that Python"

run: build
	@echo "== watching this machine with rules/falcolib_rules.yaml; Ctrl-C ends it"
	@$(VENV)/bin/falcolib run -r rules/falcolib_rules.yaml || { \
		echo "== this machine can't be watched, as told above: replaying tests/data/attack1.scap instead"; \
		$(VENV)/bin/falcolib run -r rules/falcolib_rules.yaml --capture tests/data/attack1.scap; }

build: $(VENV)/.built

$(VENV)/.venv: pyproject.toml .ci/packages
	@sh .ci/packages build
	@echo "== setting up $(VENV) and what the build needs"
	@$(PY) -c "" 2>/dev/null || $$(sh .ci/packages python) -m venv --clear $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group build
	@touch $@

$(VENV)/.built: $(VENV)/.venv $(SOURCES)
	@echo "== building falcolib into $(VENV) (about half a minute)"
	@$(PIP) install --no-build-isolation --check-build-dependencies '.[live]'
	@touch $@

$(VENV)/.test: $(VENV)/.venv
	@sh .ci/packages test
	@echo "== installing the test tools"
	@$(PIP) install --group test --group lint
	@touch $@

test: test-plain test-sanitized

test-plain: build $(VENV)/.test
	@echo "== the test suite"
	@$(PYTEST)

# Other builds of the core, beside the first.
build/sanitized/.built: $(VENV)/.built
	@echo "== building the core with AddressSanitizer and UndefinedBehaviorSanitizer (about a minute)"
	@rm -rf build/sanitized/site
	@SANITIZE=1 $(PIP) install --no-build-isolation --no-deps --target build/sanitized/site .
	@touch $@

build/coverage/.built: $(VENV)/.built
	@echo "== building the core with counters of lines"
	@rm -rf build/coverage
	@COVERAGE=1 $(PIP) install --no-build-isolation --no-deps --target build/coverage/site .
	@touch $@

sanitized: build/sanitized/.built

# Python itself is not instrumented, so leaks are left to the fuzz targets.
test-sanitized: sanitized $(VENV)/.test
	@echo "== the test suite on the sanitizer build"
	@PYTHONPATH=build/sanitized/site LD_PRELOAD="$(ASAN)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		PYTHONMALLOC=malloc FALCOLIB_SANITIZED=1 $(PYTEST) -m "not fuzz and not daemon"

coverage: build/coverage/.built $(VENV)/.test
	@$(PIP) install gcovr
	@echo "== the test suite, counting lines"
	@PYTHONPATH=build/coverage/site $(PYTEST) -m "not fuzz"
	@$(VENV)/bin/gcovr --root . --filter csrc/ build/coverage

bench: build
	@sh .ci/packages bench
	@$(PY) -m benchmarks

# SHORT=1: ten minutes instead of an hour. What it found is added to docs/soak.md.
soak: build
	@$(PY) benchmarks/soak.py --seconds $(if $(SHORT),600,3600) --record docs/soak.md

# Instructions an event, which nothing that lands may raise by more than 5%; `instructions` records them anew.
check-instructions instructions: build
	@sh .ci/packages bench
	@$(PY) -m benchmarks.guard $(if $(filter instructions,$@),--record)

test-apiserver: build $(VENV)/.test
	@[ -n "$$KUBE_APISERVER_BIN" ] || sh .ci/apiserver build/apiserver
	@echo "== the tests with a real kube-apiserver (about a minute)"
	@KUBE_APISERVER_BIN="$${KUBE_APISERVER_BIN:-build/apiserver/bin}" $(PYTEST) acceptance/test_apiserver.py

test-systemd: build $(VENV)/.test
	@sh .ci/systemd build/systemd
	@echo "== the tests with a real systemd (about a minute)"
	@SYSTEMD_TREE=build/systemd/root $(PYTEST) acceptance/test_systemd.py

fuzz: build $(VENV)/.test
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTEST) -o faulthandler_timeout=0 -m fuzz

docs: build
	@$(PY) -m falcolib.cli.reference docs

lint: build $(VENV)/.test
	@sh .ci/packages lint
	@echo "== ruff, mypy, shellcheck, and the compilers' warnings"
	@$(VENV)/bin/ruff check .
	@$(PY) -m mypy
	@! command -v shellcheck >/dev/null || shellcheck .ci/run .ci/packages .ci/apiserver .ci/systemd
	@for f in $$(find csrc -name '*.c' -not -path 'csrc/bpf/*' -not -path '*/fuzz/*'); do \
		gcc -std=gnu11 -O2 -Wall -Wextra -Werror -c -o /dev/null -Icsrc $$f || exit 1; done
	@if command -v clang >/dev/null; then for f in $$(find csrc -name '*.c' -not -path 'csrc/bpf/*'); do \
		clang -std=gnu11 -Wall -Wextra -Werror -fsyntax-only -Icsrc $$f || exit 1; done; \
		else echo "== not installed, so its warnings are not looked for: clang"; fi

clean:
	rm -rf build dist $(VENV) src/falcolib.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

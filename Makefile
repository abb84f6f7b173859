# SPDX-License-Identifier: Apache-2.0
# make run and make test do all the set-up they need. The first time takes a few minutes, and says what it is doing.

VENV := .venv
PY := $(VENV)/bin/python
CONFORMANCE ?= ../shared/conformance
SPEC ?= ../shared/spec
export CONFORMANCE SPEC

SOURCES := $(shell find csrc src rules -type f -not -name '*.pyc' -not -path '*/__pycache__/*' -not -path '*.egg-info/*') setup.py pyproject.toml
ASAN = $(shell gcc -print-file-name=libasan.so) $(shell gcc -print-file-name=libstdc++.so.6)

.PHONY: help run test test-plain test-sanitized build sanitized bench fuzz lint clean

help:
	@echo "make run     replay the bundled capture with the default rules, and print the alerts"
	@echo "make test    the whole test suite, plain and under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make build   falcolib, installed in $(VENV)"
	@echo "make bench   instructions and time per event, next to Falco's"
	@echo "make fuzz    the fuzzers, FUZZ_SECONDS each (default 600)"
	@echo "make lint    ruff, mypy, and the C core with all warnings as errors"

run: build
	@echo "== replaying tests/data/attack1.scap with rules/falcolib_rules.yaml (live capture is yet to come)"
	@$(VENV)/bin/falcolib run -r rules/falcolib_rules.yaml --capture tests/data/attack1.scap

build: $(VENV)/.built

$(VENV)/.venv:
	@sh .ci/packages build
	@echo "== creating $(VENV) and installing what the build needs"
	@$$(sh .ci/packages python) -m venv $(VENV)
	@$(PY) -m pip install --quiet --upgrade pip 'setuptools>=77' wheel 'cffi>=1.17'
	@touch $@

$(VENV)/.built: $(VENV)/.venv $(SOURCES)
	@echo "== building falcolib into $(VENV) (about a minute)"
	@$(PY) -m pip install --quiet --no-build-isolation .
	@touch $@

$(VENV)/.test: $(VENV)/.venv pyproject.toml
	@sh .ci/packages test
	@echo "== installing the test tools"
	@$(PY) -m pip install --quiet 'pytest>=8' 'hypothesis>=6.100' 'ruff>=0.6' 'mypy>=1.11' types-PyYAML types-cffi
	@touch $@

test: test-plain test-sanitized

test-plain: build $(VENV)/.test
	@echo "== the test suite"
	@$(PY) -m pytest -q

# A second build of the core beside the first; Python itself is not instrumented, so leaks are left to the fuzz targets.
build/sanitized/.built: $(VENV)/.built
	@echo "== building the core with AddressSanitizer and UndefinedBehaviorSanitizer"
	@rm -rf build/sanitized
	@SANITIZE=1 $(PY) -m pip install --quiet --no-build-isolation --no-deps --target build/sanitized .
	@touch $@

sanitized: build/sanitized/.built

test-sanitized: sanitized $(VENV)/.test
	@echo "== the test suite on the sanitizer build"
	@PYTHONPATH=build/sanitized LD_PRELOAD="$(ASAN)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
		FALCOLIB_SANITIZED=1 $(PY) -m pytest -q -m "not fuzz"

bench: build
	@$(PY) benchmarks/replay.py

FUZZ_SECONDS ?= 600
fuzz: build $(VENV)/.test
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PY) -m pytest -q -m fuzz

lint: build $(VENV)/.test
	@echo "== ruff, mypy, and the compilers' warnings"
	@$(VENV)/bin/ruff check .
	@$(PY) -m mypy
	@for f in $$(find csrc -name '*.c' -not -path 'csrc/bpf/*' -not -path '*/fuzz/*'); do \
		gcc -std=gnu11 -O2 -Wall -Wextra -Werror -fsyntax-only -Icsrc $$f || exit 1; done

clean:
	rm -rf build $(VENV)

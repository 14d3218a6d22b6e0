# What a person types here is what CI runs. From a bare Debian 12 or Ubuntu machine, as root: `make demo`, `make test`.
# An ordinary user needs no engine and no root: bubblewrap makes the sandboxes.

# The distribution's own where it will do, since no service account gets at one that lies in a person's home.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys, os; sys.version_info >= (3, 11) or sys.exit(1); \
	os.getuid() and __import__("ensurepip")' 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
WORK := build
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The engine that `make engine` started (or, for an ordinary user, the one that answers), for the daemon and for docker.
ENGINE_ENV = socket=$$(compose/engine.sh socket 2>/dev/null || true); \
	[ -z "$$socket" ] || export ELEAGENT_DOCKER_SOCKET=$$socket DOCKER_HOST=unix://$$socket; \
	export PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: tmux bytecode help venv engine demo check test pytest faults crash wheel-test bench docs clean

help: ## say what there is to type
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.made ## make .venv with EleAgent, Claude Code's binary and the development tools

$(VENV)/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1), EleAgent needs 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		[ "$$(id -u)" = 0 ] || { echo "make: $(PYTHON) has no venv: apt-get install python3-venv" >&2; exit 2; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[claude,dev]'
	@touch $@

engine: ## start a container engine and make the base image where they are missing (root)
	compose/engine.sh

demo: bytecode ## see Claude Code work over sample project data in a sandbox
	@compose/engine.sh
	@$(ENGINE_ENV); docs/demo/run.sh

check: venv ## lint, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check pytest wheel-test ## everything: check, the suite, and the suite against the built wheel

# As an installation has it; where PYTHONDONTWRITEBYTECODE is set each start would compile everything anew.
bytecode: venv
	@$(BIN)/python -m compileall -q eleagent daemon tui

# The full-screen client is tested in it.
tmux:
	@command -v tmux >/dev/null || { \
		[ "$$(id -u)" = 0 ] || { echo "make: the tests need tmux: apt-get install tmux" >&2; exit 2; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends tmux; }

# An ordinary user, who needs no engine, is told at the end what did not run; as root a missing engine fails.
pytest: bytecode tmux
	@compose/engine.sh
	@$(ENGINE_ENV); compose/engine.sh enter $(BIN)/pytest $(ARGS)

# An hour at a stretch, or a part of it: make faults PIECE=3/20.
PIECE ?= 1/1
faults: bytecode ## the audit log's faults and changes in full length: 200 kills, every write, sync and rename (PIECE=3/20)
	@compose/engine.sh
	@$(ENGINE_ENV); export ELEAGENT_AUDIT_KILLS=200 ELEAGENT_AUDIT_FAULTS=0 ELEAGENT_TAMPER_TIMES=1000 \
		ELEAGENT_AUDIT_PIECE=$(PIECE); compose/engine.sh enter $(BIN)/pytest tests/store/test_audit_faults.py \
		tests/store/test_tamper.py tests/e2e/test_audit_kills.py

# Two hours at a stretch, or a part of it: make crash KILLS=10 RUNTIME=docker.
KILLS ?= 200
RUNTIME ?= docker or bubblewrap
crash: venv ## sessions under a daemon, then a launcher, that is killed again and again: each 200 times a runtime (KILLS=10)
	@compose/engine.sh
	@$(ENGINE_ENV); ELEAGENT_TEST_KILLS=$(KILLS) compose/engine.sh enter \
		$(BIN)/pytest tests/crash/test_kills.py -k "again_and_again and ($(RUNTIME))"

wheel-test: venv tmux ## the suite against the built wheel, without the source tree
	@$(ENGINE_ENV); tests/wheel.sh $(WORK)/wheel

bench: bytecode ## the ratios and limits that EleAgent promises, measured in one run (root)
	@compose/engine.sh
	@$(ENGINE_ENV); $(BIN)/python bench/run.py

docs: venv ## write the pages that are made from tables in the code
	$(BIN)/python docs/generate.py

clean: ## remove what was built here; engine and sessions stay
	rm -rf $(VENV) $(WORK) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

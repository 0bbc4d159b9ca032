# Two commands on a fresh machine with Python 3.10 to 3.12: `make sweep` and `make test`.
PYTHON ?= $(shell command -v python3.12 >/dev/null && python3.12 -c '' 2>/dev/null && echo python3.12 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled as they are imported: compiling all that are installed takes as long as installing them.
INSTALL := --quiet --no-compile
# Where it is set, as in many containers, each process would do so anew: 7 of the 12 s that its imports take.
unexport PYTHONDONTWRITEBYTECODE
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: sweep system test soak check bench ui clean

sweep: $(VENV)/installed
	$(BIN)/lossfleet sweep $(ARGS)

ui: $(VENV)/installed
	$(BIN)/lossfleet ui

test: system $(VENV)/installed-dev check
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

# Sweeps killed at 50 random moments; LOSSFLEET_KILL_SEED=... repeats the moments that it prints.
soak: $(VENV)/installed-dev
	LOSSFLEET_KILLS=50 $(BIN)/python -m pytest -s tests/running/test_kill.py

# What the tests need that is no Python package, from Debian: PostgreSQL, a browser, and g++ for fused kernels.
system:
	@{ { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; } && \
	command -v chromium >/dev/null && command -v g++ >/dev/null; } || \
	{ $(SUDO) apt-get -qq update && $(SUDO) apt-get -qq install --no-install-recommends postgresql chromium g++; }

check: $(VENV)/installed-dev $(VENV)/source/lossfleet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(VENV)/source $(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed
	$(BIN)/python -m pip install $(INSTALL) --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info build dist runners/training/native/*.so

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else f"make: python is {v[0]}.{v[1]}; expected 3.10 to 3.12; write for example make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)

# mypy finds lossfleet.* where it is a folder of this name.
$(VENV)/source/lossfleet: $(VENV)/bin/python
	mkdir -p $(@D)
	ln -sfn ../.. $@

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install $(INSTALL) --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install $(INSTALL) --constraint constraints.txt --editable '.[dev]'
	touch $@

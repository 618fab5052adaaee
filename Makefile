# Needs Python 3.11 or newer with pip; makes its own environment in .venv.
.DEFAULT_GOAL := help
.PHONY: help project test test-fast test-docker lint format clean

PYTHON ?= python3
BIN := .venv/bin

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

project: .venv/project ## Make a project in ./my_project (ASK=1 asks the questions)
	$(BIN)/cookiecutter $(if $(ASK),,--no-input) .

test: .venv/test ## Run every test, with real servers from wheels
	$(BIN)/pytest -n auto $(ARGS)

test-fast: .venv/test ## Run the tests that take less than a minute together
	$(BIN)/pytest -n auto -m "not slow and not docker" $(ARGS)

test-docker: .venv/test ## Run the tests that need a Docker engine
	$(BIN)/pytest -m docker $(ARGS)

lint: .venv/test ## Check style and types of the template's own Python
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/test ## Format the template's own Python
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

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

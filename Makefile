# Each target stands for one thing a newcomer or CI does. `make install` is behind all the others.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install system quickstart test lint format bench proofs clean lock

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## everything into .venv, system packages included

$(VENV)/.installed: pyproject.toml requirements.lock
	@PYTHON=$(PYTHON) scripts/install
	@touch $@

quickstart: install ## from nothing to a first alert, on a folder you can drop files into
	@scripts/quickstart

test: install ## every test that CI runs
	@$(BIN)/pytest -q -n 2 -m "not slow"

lint: install ## ruff, mypy --strict, import-linter, yamllint
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/yamllint -s .

format: install ## let ruff rewrite the layout
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: install ## events and MB per second and core, beside a naive baseline in the same run
	@$(BIN)/python -m bench

proofs: install ## the slow proofs: kill loops, misbehaving rules, hostile files, with full figures
	@$(BIN)/pytest -q -m slow

lock: install ## write requirements.lock from pyproject.toml
	@scripts/lock

clean: ## remove what the other targets made
	rm -rf $(VENV) quickstart build *.egg-info .mypy_cache .ruff_cache .pytest_cache

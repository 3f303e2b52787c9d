# Each target stands for one thing a newcomer or CI does. `make install` is behind all the others.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install compiler deploy-tools cloud-servers quickstart test lint format bench bench-aws bench-azure bench-gcp proofs matrix lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## everything into .venv, system packages included

$(VENV)/.installed: pyproject.toml requirements.lock scripts/install
	@PYTHON=$(PYTHON) scripts/install
	@touch $@

deploy-tools: install # promtool and the like, for what lies in deploy/
	@scripts/debian-tools

compiler: # some tests preload a file layer written in C
	@echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1 || scripts/packages "a C compiler" gcc libc6-dev

quickstart: install ## from nothing to a first alert, on a folder you can drop files into
	@$(BIN)/python scripts/quickstart

cloud-servers: install # before the tests: what they wait for is that a server starts, not that it is fetched
	@scripts/ministack install
	@scripts/azurite install

test: install compiler deploy-tools cloud-servers ## every test that CI runs
	@$(BIN)/pytest -q -n 2 -m "not slow"

lint: install ## ruff, mypy --strict, import-linter, yamllint: all of them, whatever one finds
	@status=0; for check in "ruff check ." "ruff format --check ." mypy "lint-imports --no-logo" "yamllint -s ."; do \
		$(BIN)/$$check || status=1; done; exit $$status

format: install ## let ruff rewrite the layout
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: install ## events and MB per second and core, beside a naive baseline in the same run
	@$(BIN)/python -m bench

bench-aws: install cloud-servers ## small and big objects from S3 by their notices: per core, beside the plain loop and the server's limit
	@$(BIN)/python -m bench.aws

bench-azure: install cloud-servers ## the same for blobs in Azure, beside the plain loop
	@$(BIN)/python -m bench.azure

bench-gcp: install cloud-servers ## the same for Google Cloud, and messages that are events, beside Google's clients
	@$(BIN)/python -m bench.gcp

proofs: install compiler deploy-tools cloud-servers ## the slow proofs: kill loops, misbehaving rules, hostile files, with full figures
	@$(BIN)/pytest -q -m slow

.PHONY: proof-clouds
proof-clouds: install cloud-servers ## all clouds and a folder in one daemon, full for ten minutes: leases, the event loop, memory
	@$(BIN)/python -m tests.clouds.together

matrix: install cloud-servers ## every form of the clouds' notices under every condition, against local servers, as tables
	@$(BIN)/python -m tests.aws.matrix
	@$(BIN)/pytest -q -s tests/azure/test_matrix.py
	@$(BIN)/python -m tests.gcp.matrix

lock: install ## write requirements.lock from pyproject.toml
	@scripts/lock

clean: ## remove what the other targets made
	rm -rf $(VENV) quickstart build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

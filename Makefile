# The two commands of the README, and what developers need besides.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test bench setup lint clean help

help: ## show this
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

run: setup ## set up everything and run the whole lifecycle: raw text to a promoted model
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/stemma run

test: $(VENV)/.tests ## set up everything and pass the tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: setup ## measure the pretraining against its peers and write docs/benchmarks.md (hours)
	@$(BIN)/python -m bench.pretrain --write docs/benchmarks.md

setup: $(VENV)/.installed ## make the virtual environment and the workspace's folders
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/stemma init --quiet

lint: $(VENV)/.tests ## check style and types
	@$(BIN)/ruff check core components registry deploy flows cli tests bench
	@$(BIN)/ruff format --check core components registry deploy flows cli tests bench
	@$(BIN)/mypy --no-error-summary

clean: ## remove the virtual environment; data, models and the registry stay
	rm -rf $(VENV)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Stemma needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) && touch $@

# torch first and exactly: left to the resolver it would be the newest build, with gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml deploy/constraints.txt | $(VENV)/.python
	@echo "Installing into $(VENV) (once, some minutes) ..."
	@$(BIN)/pip install -q --disable-pip-version-check torch==2.13.0 -c deploy/constraints.txt
	@$(BIN)/pip install -q --disable-pip-version-check -e . -c deploy/constraints.txt
	@touch $@

$(VENV)/.tests: $(VENV)/.installed
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,s3,kubernetes]' -c deploy/constraints.txt
	@touch $@

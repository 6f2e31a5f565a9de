# The two commands of the README, and what developers need besides.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast coverage bench setup lint docs clean help

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: setup ## set up everything and run the whole lifecycle: raw text to a promoted model
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/stemma run

test: $(VENV)/.tests ## set up everything and pass the tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.tests ## the unit tests alone, in two minutes or less
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests/unit

coverage: $(VENV)/.tests ## all tests, with the coverage of branches, that of started processes included
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/coverage erase
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout 1800
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --sort=cover

bench: setup ## measure the pretraining against its peers and write docs/benchmarks.md (hours)
	@$(BIN)/python -m bench.pretrain --write docs/benchmarks.md

setup: $(VENV)/.installed ## make the virtual environment and the workspace's folders
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/stemma init --quiet

lint: $(VENV)/.tests ## check style, types, spelling and what is generated
	@$(BIN)/ruff check core components registry deploy flows cli tests bench
	@$(BIN)/ruff format --check core components registry deploy flows cli tests bench
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/codespell
	@$(BIN)/yamllint --strict .
	@$(BIN)/shellcheck .ci/run
	@$(BIN)/python -m components code --check

docs: $(VENV)/.tests ## build the documentation into build/site; a broken link is an error
	@$(BIN)/mkdocs build --quiet --strict

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

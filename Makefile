# The two commands of the README, and what developers need besides.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast test-nightly coverage bench setup lint docs clean help

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: setup ## set up everything and run the whole lifecycle: raw text to a promoted model
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/stemma run

test: $(VENV)/.tests ## set up everything and pass the tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.tests ## the unit tests alone, without those that take seconds
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not nightly and not slow" tests/unit

test-nightly: $(VENV)/.tests ## what make test leaves out: measurements of whole trainings, and what takes long
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m nightly tests/integration tests/e2e

coverage: $(VENV)/.tests ## all tests, with the coverage of branches, that of started processes included
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/coverage erase
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/coverage run -m pytest -n 3 --dist loadfile --no-loadscope-reorder --timeout 1800
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
	@$(BIN)/shellcheck .ci/run .ci/lock
	@$(BIN)/python -m components code --check

docs: $(VENV)/.tests ## build the documentation into build/site; a broken link is an error
	@$(BIN)/mkdocs build --quiet --strict

clean: ## remove the virtual environment; data, models and the registry stay
	rm -rf $(VENV)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Stemma needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) && touch $@

# Every file that is installed has its hash in deploy/lock, and the lock names every one: nothing is resolved or fetched
# besides, also not to build the few packages that have no wheel (setuptools comes first, for them).
INSTALL = $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-compile
LOCKED = $(INSTALL) --require-hashes
# pip would compile one file after the other; some packages hold files for other Pythons, which do not compile.
COMPILE = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
TORCH := cpu# or cuda

$(VENV)/.installed: pyproject.toml $(wildcard deploy/lock/*.txt) | $(VENV)/.python
	@echo "Installing into $(VENV) (once, some minutes) ..."
	@$(LOCKED) -r deploy/lock/build.txt
	@$(LOCKED) -r deploy/lock/torch-$(TORCH).txt 2>/dev/null || \
	  $(LOCKED) --extra-index-url https://download.pytorch.org/whl/cpu -r deploy/lock/torch-$(TORCH).txt
	@$(LOCKED) -r deploy/lock/stemma.txt
	@$(INSTALL) -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.tests: $(VENV)/.installed
	@$(LOCKED) --compile -r deploy/lock/dev.txt
	@touch $@

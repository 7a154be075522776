# Two commands set everything up by themselves: `make demo` and `make test`.
SHELL := bash
.DEFAULT_GOAL := help
PYTHON ?=
export PYTHON
BIN := .venv/bin

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup  ## Set up, then train a model and chat with it, in under a minute
	@$(BIN)/tunery demo

serve: setup  ## Set up, then serve the API until Ctrl-C
	@$(BIN)/tunery serve

test: setup-test  ## Set up for tests, then run all of them (at most 10 minutes on 2 cores)
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-long: setup-test  ## The longer variants; their last result is kept in tests/long/last-result.txt
	@mkdir -p tests/long; set -o pipefail; $(BIN)/python -m pytest -m slow 2>&1 | tee tests/long/last-result.txt

check: setup-test  ## Lint, types and architecture
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

wheel: setup-test  ## Build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

setup:
	@scripts/setup.sh run

setup-test:
	@scripts/setup.sh test

.PHONY: help demo serve test test-long check wheel setup setup-test

# Every target sets up what it needs in .venv; `make` alone prints this list.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/cpu-py311.lock
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo bench docs browser test check format lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) ## Set up .venv: the pinned CPU vLLM set and this package in editable mode

$(STAMP): $(LOCK) pyproject.toml requirements/install.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" LOCK="$(LOCK)" sh requirements/install.sh
	@touch $(STAMP)

demo: install ## Blocking and streaming side by side on real vLLM: table, answers, timeline picture
	$(BIN)/stream2llm demo

bench: install ## Measure against stock vLLM on this machine, under 40 minutes; BENCH_ARGS=--quick for under 5
	$(BIN)/stream2llm bench $(BENCH_ARGS)

docs: install ## Build the documentation site into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

browser: ## Install Debian's Chromium, for the tests of the example page; without it they are skipped
	command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; }

test: install ## Run the test suite
	$(BIN)/python -m pytest

check: install ## Lint, format check, strict types, import boundaries
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install ## Apply the formatter and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install ## Rewrite the pinned lock file from what is in .venv
	$(BIN)/pip freeze --exclude-editable | grep -vE '^(pip|wheel)==' > $(LOCK)

clean: ## Remove .venv and every cache
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache demo-output bench-output

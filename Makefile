# `make demo` and `make test` need Python 3.11 or later and make; they install the rest into .venv.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test check format local bench-contention bench-truth bench-year requirements clean

demo: $(INSTALLED)
	@$(BIN)/canary demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The whole path on this machine: emulators, both functions, a topic that pushes.
local: $(INSTALLED)
	@$(BIN)/python -m local

bench-contention: $(INSTALLED)
	@$(BIN)/python -m benchmarks.contention

# What the alerts are worth: half an hour on two cores.
bench-truth: $(INSTALLED)
	@$(BIN)/canary simulate --healthy-days 10000 --faulty-days 2000 --json truth.json

bench-year: $(INSTALLED)
	@$(BIN)/python -m benchmarks.year

# Pinned for every Python from 3.11 on and every platform; no index address is recorded. The functions get
# the very versions that the tests ran with.
requirements: $(INSTALLED)
	$(BIN)/uv pip compile pyproject.toml --all-extras $(PIN) --output-file requirements-dev.txt
	$(BIN)/uv pip compile pyproject.toml --extra cloud --constraint requirements-dev.txt $(PIN) --output-file requirements.txt

PIN := --quiet --universal --python-version 3.11 --generate-hashes --upgrade --no-emit-index-url \
	--no-emit-find-links --no-annotate --custom-compile-command "make requirements"

$(INSTALLED): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("this needs Python 3.11 or later; name one with make PYTHON=...") if sys.version_info < (3, 11) else None'
	@echo "installing the pinned dependencies into .venv (once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

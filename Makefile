# `make demo` and `make test` need Python 3.11 or later and make; they install the rest into .venv.

PYTHON ?= python3
BIN := .venv/bin
# Installed: the command alone, and everything.
CLI := .venv/.cli
DEV := .venv/.dev

.PHONY: demo test check format local bench bench-contention bench-truth chaos coverage fuzz hostile interleavings load \
	outages path reference years screenshot requirements wheel clean

# Who has everything has what the demo needs.
demo: $(or $(wildcard $(DEV)),$(CLI))
	@$(BIN)/canary demo

test: $(DEV)
	$(BIN)/python -m pytest -n auto --dist worksteal

# Takes twice as long as `make test`.
coverage: $(DEV)
	$(BIN)/python -m pytest -n auto --dist worksteal --cov

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The whole path on this machine, with our orchestrator and beside another: emulators, functions, topics that push.
local: $(DEV)
	@$(BIN)/python -m tools.local

# Tables, and the same as JSON in bench.json; and what a month costs on Google Cloud. With BEFORE=<commit>
# bench and load run in turns with that commit: the least and the median of both, and their ratio.
bench: $(DEV)
	@$(BIN)/python -m benchmarks --json bench.json $(if $(BEFORE),--before $(BEFORE))
	@$(BIN)/python -m benchmarks.cost

# The orchestrator as it is deployed, 8 deliveries at once: five minutes, and five with slower stores.
load: $(DEV)
	@$(BIN)/python -m benchmarks.load --json load.json $(if $(BEFORE),--before $(BEFORE))

bench-contention: $(DEV)
	@$(BIN)/python -m benchmarks.contention

# What the alerts are worth: a quarter of an hour on two cores that have nothing else to do; HEALTHY and FAULTY are dates.
bench-truth: $(DEV)
	@nice $(BIN)/python -m evaluation --healthy-days $(or $(HEALTHY),2000) --faulty-days $(or $(FAULTY),2000) \
		--json truth.json

# Servers that refuse, hang, reset, drip, cut and talk garbage, alone and in pairs: half an hour at most.
outages: $(DEV)
	@$(BIN)/python -m tests.proof outages $(if $(SEED),--seed $(SEED))

# Whole runs over what anybody may have written into the stores; RUNS and SEED may be given.
hostile: $(DEV)
	@$(BIN)/python -m tests.proof hostile --runs $(or $(RUNS),60000) $(if $(SEED),--seed $(SEED))

# Bytes and values for everything that takes some from outside, beside its unit tests; MINUTES (10) and SEED may be
# given. What is found becomes an `@example` there.
fuzz: $(DEV)
	@$(BIN)/python -m tests.proof fuzz --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

# Five years of a run every 15 minutes, with faults of stores and channels, deaths and absences; SEED may be given.
years: $(DEV)
	@$(BIN)/python -m tests.proof years $(if $(SEED),--seed $(SEED))

# Where it stopped, in 20,000 worlds whose truth is known: a quarter of an hour; WORLDS and SEED may be given.
path: $(DEV)
	@$(BIN)/python -m tests.proof path --worlds $(or $(WORLDS),20000) $(if $(SEED),--seed $(SEED))

# The tables of the pages, from the code.
reference: $(DEV)
	@$(BIN)/python -m tools.reference

# The pictures in docs/: of the page, and of a Slack message.
screenshot: $(DEV)
	@$(BIN)/python -m tests.page.screenshot docs/page.png
	@$(BIN)/python -m tests.page.slack_picture docs/slack.png

# Every interleaving of more deliveries, and of more faults of two canaries, than `make test` has time for; REPLAY='…'
# takes the steps of one again.
interleavings: $(DEV)
	@$(BIN)/python -m tests.proof interleavings "$(REPLAY)"

# 10,000 messages of 500 dates to instances that are killed at every step, then canaries that are killed, and meet;
# SEED=… draws the same again.
chaos: $(DEV)
	@$(BIN)/python -m tests.proof chaos $(if $(SEED),--seed $(SEED))

# With the pinned setuptools, and without a network. What is in it is tested in tests/installation/.
wheel: $(DEV)
	rm -rf build dist
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-index --no-deps --no-build-isolation \
		--wheel-dir dist .
	@if $(BIN)/python -c 'import twine' 2>/dev/null; then $(BIN)/python -m twine check --strict dist/*; \
		else echo "twine is not installed: its check is left out"; fi
	@ls dist

# Pinned for every Python from 3.11 on and every platform; no index address is recorded. The functions and the
# command get the very versions that the tests ran with.
requirements: $(DEV)
	$(PIN) --all-extras --group dev --output-file requirements-dev.txt
	$(PIN) --extra cli --group build --constraint requirements-dev.txt --output-file requirements-cli.txt
	$(PIN) --extra cloud --constraint requirements-dev.txt --output-file requirements.txt

PIN = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make requirements"

# One way that every pip from 22.3 on goes, whatever else the index has by then. Without --no-deps a pip before
# 23.3 refuses a pinned package that another one asks for with an extra, as soon as there is a newer release
# of it. So pip resolves nothing, and `pip check` says whether the list is whole.
define install
	@$(BIN)/python -c '$(RECENT)'
	@echo "installing what $< pins into .venv (once)"
	@$(PIP) install --quiet --no-deps --require-hashes --requirement $<
	@PYTHONWARNINGS="ignore:Editable installation" $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@found=$$($(PIP) check) || { echo "$$found"; echo "so .venv does not fit together; make clean removes it"; exit 1; } >&2
	@touch $@
endef

PIP := $(BIN)/python -m pip --disable-pip-version-check
RECENT := import sys; sys.exit("%s is Python %d.%d, and this needs 3.11 or later: name one with make PYTHON=..., \
	after make clean if there is a .venv" % ((sys.executable,) + sys.version_info[:2]) if sys.version_info < (3, 11) else 0)

$(CLI): requirements-cli.txt pyproject.toml | $(BIN)/python
	$(install)

$(DEV): requirements-dev.txt pyproject.toml | $(BIN)/python
	$(install)

# A .venv that is there stays, with the pip that it has.
$(BIN)/python:
	@test ! -e .venv || { echo "there is a .venv, and no Python in it that starts; make clean removes it" >&2; exit 1; }
	@"$(PYTHON)" -c '$(RECENT)'
	@"$(PYTHON)" -m venv .venv || { rm -rf .venv; exit 1; }

.NOTPARALLEL: # two installations into one .venv

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* simulated

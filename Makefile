# The commands of this project. `make demo` and `make test` work from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A file's tests share one service, so they stay together.
PYTEST_ARGS ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test coverage lint client docs wheels audit clean

help:  ## list these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

setup: $(STAMP)  ## install the project and its dependencies into .venv

# The stamp makes a second call instant; a change of the dependencies installs again.
$(STAMP): pyproject.toml packages/client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -e packages/client -e '.[app,worker,local,dev]'
	@touch $@

demo: setup  ## generate 8 crystals over HTTP, print them, write CIFs to out/
	$(BIN)/cdvae demo

serve: setup  ## run the service (CDVAE_PORT, CDVAE_REDIS_URL, CDVAE_HOME)
	@exec $(BIN)/cdvae serve

lint: setup  ## format, lint, security rules, types, import rules, plain English
	$(BIN)/python -m pip check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.plain_english

# One thread per test process: two busy processes with two threads each are many times slower.
test: lint  ## everything CI checks; CDVAE_DATA=<folder> adds the tests on the real data sets
	@if [ -n "$$CDVAE_DATA" ] && [ ! -d "$$CDVAE_DATA" ]; then \
	  echo "CDVAE_DATA=$$CDVAE_DATA is not a folder"; exit 1; fi
	@if [ "$$CI" = "true" ] && [ -z "$$CDVAE_DATA" ]; then \
	  echo "CI must run the tests on real data: set CDVAE_DATA"; exit 1; fi
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) </dev/null

# Not in CI, because measuring slows the tests down. COVERAGE_ARGS=tests/app measures a part.
coverage: setup  ## run the tests and print the share of covered lines of each module
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term $(COVERAGE_ARGS) </dev/null

client: setup  ## generate the synchronous Python client from the one for asyncio
	$(BIN)/python -m scripts.sync_client

docs: setup  ## the reference of the Python client, into out/docs
	$(BIN)/pdoc cdvae_client cdvae_schema --output-directory out/docs

# setuptools packs whatever an earlier build left, so each build starts from nothing.
wheels: setup  ## build cdvae-client, cdvae-service and cdvae-models, into out/wheels
	rm -rf build packages/*/build
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --wheel-dir out/wheels ./packages/client ./packages/models .

# A list of versions, so that --strict fails for what could not be looked up: torch's `+cpu` has no
# entry of its own, and the project itself none at all.
audit: setup  ## known vulnerabilities of the installed packages (needs the network)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[^ ]*$$//' >$(VENV)/installed.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement $(VENV)/installed.txt

clean:  ## remove what `make` made, except the state in .cdvae
	rm -rf $(VENV) build packages/*/build out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

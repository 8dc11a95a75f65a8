# Everything here works on a machine that has python3 (3.11 or newer, with venv) and make, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE := tests/mcp/node
NODE_OPENAI := tests/node_openai
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo up test drills chaos check format bench schemathesis openapi lock clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "imagequeue needs Python 3.11 or newer; point PYTHON= at one." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing imagequeue into $(VENV) (once, about a minute) …"
	$(PIP) -e '.[local]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing imagequeue and its development tools into $(VENV) (once, about a minute) …"
	$(PIP) -e '.[local,flower,dev]'
	@touch $@ $(VENV)/.installed-run

$(NODE)/node_modules/.installed: $(NODE)/package.json $(NODE)/package-lock.json | $(VENV)/.installed-dev
	@echo "Installing the MCP bridge's checkers into $(NODE) (once, about half a minute) …"
	@$(BIN)/python tools/npm.py ci --prefix $(NODE) --loglevel=error && touch $@ \
	  || echo "That failed (npm's registry has to be reachable): the tests that need them will fail, the others run." >&2

$(NODE_OPENAI)/node_modules/.installed: $(NODE_OPENAI)/package.json $(NODE_OPENAI)/package-lock.json | $(VENV)/.installed-dev
	@echo "Installing OpenAI's SDK for Node into $(NODE_OPENAI) (once, some seconds) …"
	@$(BIN)/python tools/npm.py ci --prefix $(NODE_OPENAI) --loglevel=error && touch $@ \
	  || echo "That failed (npm's registry has to be reachable): the tests that need it will fail, the others run." >&2

demo: $(VENV)/.installed-run  ## start the stack on this machine, run one job of each kind, show the results
	$(BIN)/python tools/demo.py

up: $(VENV)/.installed-run  ## start everything on this machine until Ctrl-C
	$(BIN)/imagequeue up

test: $(VENV)/.installed-dev $(NODE)/node_modules/.installed $(NODE_OPENAI)/node_modules/.installed  ## all tests, on real Redis, S3, workers and HTTP
	$(BIN)/python -m pytest $(PYTEST)

drills: $(VENV)/.installed-dev  ## failures and load with figures: a killed worker, rate limits, an outage of S3, the MCP bridge
	$(BIN)/python tests/chaos/drills.py

check: $(VENV)/.installed-dev  ## format, lint, types, import rules, sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tools/check_sizes.py

format: $(VENV)/.installed-dev  ## write the format and the safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## the benchmarks, each beside what one would use instead
	$(BIN)/python benchmarks/run.py

SEEDS ?= 10
SCALE ?= long
chaos: $(VENV)/.installed-dev  ## kills, cuts and OpenAI's faults against the whole stack: SEEDS=30, or SEED=7 alone
	$(BIN)/python tests/chaos/run.py --scale $(SCALE) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

EXAMPLES ?= 200
schemathesis: $(VENV)/.installed-dev  ## hold the API against its document at length: EXAMPLES=1000 for more
	SCHEMATHESIS_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -n 0 -s tests/integration/test_api_schemathesis.py

openapi: $(VENV)/.installed-dev  ## write docs/openapi.json, the document that the API serves
	$(BIN)/python tools/openapi.py

lock: | $(BIN)/python  ## resolve again and rewrite constraints.txt
	$(BIN)/python tools/lock.py

clean:  ## remove the environment and what builds and tests leave
	rm -rf $(VENV) $(NODE)/node_modules $(NODE_OPENAI)/node_modules build *.egg-info .pytest_cache .ruff_cache
	rm -rf .import_linter_cache .coverage* demo-output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

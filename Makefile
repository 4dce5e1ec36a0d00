# `make demo` and `make test` set everything up by themselves; the environment is built once and reused.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
UV := uv==0.13.9

.PHONY: help demo video-demo iris-demo attack-demo ui test nightly lint format docs bench chaos dbt sbom audit clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY) ## Simulate a fleet, evaluate and report it
	@$(BIN)/cvq demo

video-demo: $(READY) ## Simulate clips of two builds of a segmenter, evaluate and report them
	@$(BIN)/cvq demo --scenario video-demo

iris-demo: $(READY) ## Simulate eyes before two builds of an iris encoder, evaluate and report them
	@$(BIN)/cvq demo --scenario iris-demo

attack-demo: $(READY) ## Simulate attacks on two builds of a liveness detector, evaluate and report them
	@$(BIN)/cvq demo --scenario attack-demo

ui: $(READY) ## The Dagster UI and daemon on 127.0.0.1:3000, the sensors on
	@$(BIN)/cvq demo
	@$(BIN)/cvq ui

test: $(READY) ## Every test but those of `nightly`
	$(BIN)/python -m pytest -n auto

nightly: $(READY) ## The tests that kill, cancel and restart the real daemon: minutes, one at a time
	$(BIN)/python -m pytest -m nightly

lint: $(READY) ## Style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Put the code in its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## The pages that follow from the declarations, and the site in build/site (serve it: python3 -m http.server -d build/site)
	$(BIN)/python -m cv_quality.documentation
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(READY) ## Speed and memory as ratios against the bare engines
	$(BIN)/python -m benchmarks

chaos: $(READY) ## Faults on purpose, each followed by a plain run: are the bytes the same?
	$(BIN)/python -m benchmarks.chaos

dbt: $(READY) ## The models that follow from the tables, for work in dbt_project with dbt alone
	@$(BIN)/python -c 'from cv_quality.settings import Settings; from cv_quality.tasks import *; \
	  write_dbt_models(open_workspace(Settings.from_environment()))'

sbom: $(READY) ## Every package of the lock with its licence, as CycloneDX on standard output
	@$(BIN)/python -m cv_quality.bill_of_materials

audit: $(READY) ## Known vulnerabilities of the locked packages; asks a public database, so it needs the open internet
	$(BIN)/uv tool run --system-certs pip-audit==2.10.1 --requirement requirements.lock --no-deps --disable-pip

# uv reads no pip configuration: hand on where pip would look for further wheels (a CPU build of torch, say).
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	UV_FIND_LINKS="$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)" \
	  $(BIN)/uv pip install --quiet --system-certs --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --no-deps --editable .
	@touch $@

clean: ## Remove the environment and everything that runs wrote
	rm -rf .venv .cvq

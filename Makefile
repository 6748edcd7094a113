# make demo | test | check | perf | clean. Each sets up what it needs; uv is fetched where there is none.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
DEMO := runs/demo

.PHONY: demo test test-long check perf clean setup setup-dev

demo: setup  ## 500 clips, embeddings, a classifier, its scores, report and cards
	$(RUN) synthmir run recipes/demo.yaml --out $(DEMO)

test: setup-dev  ## the whole suite, no network
	$(RUN) pytest -n 2 --dist loadfile

test-long: setup-dev  ## what takes minutes: kills, hangs, clusters
	$(RUN) pytest -n 2 --dist loadfile -m long

check: setup-dev  ## lint, format, types, import layers
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports

perf: setup-dev  ## measure, then write perf/RESULTS.md from the files
	$(RUN) python perf/run.py

clean:  ## what the other targets made, the environment included
	rm -rf runs .venv .uv .mypy_cache .ruff_cache .hypothesis .pytest_cache .import_linter_cache

setup: $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --no-dev --inexact --quiet

setup-dev: $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --inexact --quiet

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv

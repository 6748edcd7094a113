# make demo | test | check | docs | perf | wheel-check | lowest | clean. Each installs what it needs, uv included.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
DEMO := runs/demo
unexport PYTHONDONTWRITEBYTECODE  # each process would compile torch and transformers again: 7 s

.PHONY: demo test test-long check docs wheel-check lowest perf clean setup setup-dev

demo: setup  ## 500 clips, embeddings, a classifier, scores, report and cards; REAL=PATH: scores on PATH/<genre>/* too
	$(RUN) synthmir run recipes/demo.yaml --out $(DEMO) $(if $(REAL),--on 'folder:$(REAL)')

test: setup-dev  ## the whole suite, no network
	$(RUN) pytest -n 2 --dist loadfile

test-long: setup-dev  ## tests that take minutes: kills, hangs, clusters
	$(RUN) pytest -n 2 --dist loadfile -m long

check: setup-dev  ## lint, format, types, import layers, words, documentation
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) python .ci/words.py
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --quiet

docs: setup-dev  ## the documentation, into site/; a broken link or a missing reference fails; no network
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build

wheel-check: setup-dev  ## the wheel by pip's own resolution, on every supported Python: before a release
	$(RUN) python .ci/wheel_check.py

lowest: $(filter .uv/bin/uv,$(UV))  ## the suite on the lowest versions that pyproject.toml allows: before a release
	$(UV) pip compile pyproject.toml --group dev --resolution lowest-direct --quiet --output-file .lowest/requirements.txt
	$(UV) venv --quiet --allow-existing --python 3.11 .lowest/venv
	$(UV) pip sync --quiet --python .lowest/venv .lowest/requirements.txt
	PYTHONPATH=$(CURDIR) .lowest/venv/bin/python -m pytest -n 2 --dist loadfile

perf: setup-dev  ## measure, then write perf/RESULTS.md from the files
	$(RUN) python perf/run.py

clean:  ## delete what the other targets made, the environment included
	rm -rf runs .venv .uv .lowest dist site .mypy_cache .ruff_cache .hypothesis .pytest_cache .import_linter_cache

setup: $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --no-default-groups --extra musicnn --inexact --quiet

setup-dev: $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --extra musicnn --inexact --quiet

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv

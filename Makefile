# Everything a developer does. Each target sets up what it needs in .venv; README.md shows the
# plain pip commands behind them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CACHE := $(CURDIR)/.cache

.PHONY: demo demo-cascade test unit lint bench integrations interop lists docs wheel clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[test]'
	touch $@

# A real embedder on real text: what is kept, and how much faster it is.
demo: $(INSTALLED)
	RAGDISTILL_HOME=$(CACHE) $(BIN)/ragdistill embedder --config examples/demo.yaml --out runs/demo

# A whole stack: rewriter, embedder, reranker and generator, each distilled on what the students before it
# find, and then every mix of teachers and students. Done in a minute when it is there already.
demo-cascade: $(INSTALLED)
	RAGDISTILL_HOME=$(CACHE) $(BIN)/ragdistill distill-all examples/cascade/teacher.yaml \
	  --students examples/cascade/students.yaml --data pydocs-turns --eval-queries 20 --out runs/demo-cascade

test: unit
	$(BIN)/python -m pytest tests/e2e

# A core for each file: tiny models gain nothing from a second one.
unit: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile tests/unit

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(INSTALLED)
	RAGDISTILL_HOME=$(CACHE) $(BIN)/python -m benchmarks

# Every example of docs/in-other-code.md, each library in an environment of its own under .cache.
integrations: $(INSTALLED)
	RAGDISTILL_HOME=$(CACHE) $(BIN)/python -m benchmarks.integrations $(CACHE)/integrations

# What colbert-ai and Optimum make of what is exported, in an environment of their own under .cache.
# ONNX=KIND=FOLDER names an export to read instead of MiniLM's.
interop: $(INSTALLED)
	RAGDISTILL_HOME=$(CACHE) $(BIN)/python -m benchmarks.interop $(CACHE)/interop $(ONNX:%=--onnx %)

# What training over long lists takes in memory, against sentence-transformers and PyLate, which gets an
# environment of its own under .cache.
lists: $(INSTALLED)
	RAGDISTILL_HOME=$(CACHE) $(BIN)/python -m benchmarks.lists $(CACHE)/pylate

# The generated pages (command line, hooks), and every snippet in docs/ run.
docs: $(INSTALLED)
	$(BIN)/python docs/generate.py
	$(BIN)/python -m pytest tests/unit/test_docs.py

wheel: $(INSTALLED)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(CACHE) dist build runs .mypy_cache .ruff_cache .pytest_cache

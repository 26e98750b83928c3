# `make demo` and `make test` each work first, on a machine with Python, make and pip.
# With `uv` on the PATH it is used, which is quicker.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2
export OMP_NUM_THREADS ?= 1
UV := $(shell command -v uv 2>/dev/null)
ifdef UV
  export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
  INSTALL = $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt
else
  INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
endif

.PHONY: demo test lint types imports unit faults bench clean

demo: $(VENV)/.run
	$(BIN)/howfar demo --out howfar-demo
	@echo "open howfar-demo/report.html"

test: lint types imports unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS)

# Kills, full disks, torn files and two processes: a quarter of an hour. Some need strace.
faults: $(VENV)/.dev
	$(BIN)/python -m pytest faults --override-ini=testpaths=faults --timeout=1800
	$(BIN)/python faults/fuzz_readers.py --files 10000
	$(BIN)/python faults/large_text.py --gigabytes 1

bench: $(VENV)/.dev
	$(INSTALL) -e '.[bench]'
	$(BIN)/python bench/throughput.py
	$(BIN)/python bench/measures.py
	$(BIN)/python bench/families.py
	$(BIN)/python bench/peers.py
	$(BIN)/python bench/predict.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "howfar needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first: a later, unpinned requirement must not pull in another build of it.
$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) torch
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(INSTALL) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist howfar-demo howfar-report .pytest_cache .mypy_cache .ruff_cache

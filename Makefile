# Everything here does its own set-up: a machine needs Python >= 3.11 and make, nothing else.
# The Spark part also needs Java 17; without it the rest works, and the error says how to get it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint benchmark lock clean help

help:  ## Show what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.base  ## Fit house prices on this machine and write a report
	$(BIN)/python jobs/classical/house_prices.py

test: $(VENV)/.dev  ## Run all tests on local, Dask and Spark
	$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(VENV)/.dev  ## Compare with Spark MLlib, dask-ml and pandas + scikit-learn
	$(BIN)/python jobs/scale/benchmark.py

lock:  ## Resolve the pinned requirements again (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-annotate -o requirements/base.txt
	uv pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-annotate \
		--extra dask --extra spark --extra boosting --extra s3 --extra sql --extra dashboard --extra dev -o requirements/dev.txt

$(VENV)/.base: requirements/base.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; point PYTHON at one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

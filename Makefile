# make quickstart   install into .venv and run the main job on a real model and real data
# make test         install and run the whole default test suite
# make check        style, types, the direction of imports, and that training is still faster than a plain loop
# make soak         the long half of the tests
# make docs         write the generated documents again

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: quickstart test check soak docs install clean

quickstart: $(VENV)/.core
	$(BIN)/weitiao train recipes/quickstart.yaml

test: check
	$(BIN)/python -m pytest -n $(WORKERS) -m "not soak"

check: $(VENV)/.test
	$(BIN)/ruff format --check src tests docs benchmarks
	$(BIN)/ruff check src tests docs benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -W ignore benchmarks --quick

soak: $(VENV)/.test
	$(BIN)/python -m pytest -m soak

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py

install: $(VENV)/.test

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt requirements-demo.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	$(BIN)/pip install --quiet --no-deps -r requirements-demo.txt
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# make demo   condense the embedded digits and measure the result (needs nothing but the base install)
# make test   lint, types, import order, and every test but the slow ones
# make slow   the tests that take minutes, and those that need a GPU
# make check  lint, types and import order only
# make bench  every benchmark, one ratio a line
# make clean  everything that the other targets made
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-input
CHECKED := src tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test slow check bench clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit("hmn needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@touch $@

.venv/.base: .venv/.made pyproject.toml
	@echo "installing hmn into .venv (about a minute: torch is large)"
	@$(PIP_INSTALL) -e .
	@touch $@

.venv/.dev: .venv/.made pyproject.toml
	@echo "installing hmn and what its tests need into .venv"
	@$(PIP_INSTALL) -e '.[dev,data,vision,report,distributed]'
	@touch .venv/.base $@

demo: .venv/.base
	@$(BIN)/hmn condense digits --ipc 10 --recipe quick --out demo/digits --force
	@$(BIN)/hmn evaluate demo/digits --against random,whole
	@echo "preview: demo/digits/preview.png"

check: .venv/.dev
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_architecture.py

# Two test processes of one thread each: more threads than cores make every test slower. Files go to them whole, since
# their tests share runs, and in their order: the files with the fewest tests, which come last otherwise, are the longest.
test: check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 -m "not slow and not gpu" tests

slow: .venv/.dev
	@$(BIN)/python -m pytest --durations=10 -m "slow or gpu" tests

bench: .venv/.dev
	@shopt -s nullglob; for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

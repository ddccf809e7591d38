# What one types most; `make help` lists it. Everything happens in .venv, which sets itself up.
PYTHON ?= python3
STUDY ?= digits
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup tune test lint types check format picture results constraints

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: .venv/.ready  ## .venv with ffnet and all it needs, at the versions of constraints.txt

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: ffnet needs Python 3.11 or later; try make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[serve]' --group dev
	@touch $@

tune: setup  ## run a study: the embedded digits, or STUDY=cifar10
	$(BIN)/ffnet tune $(STUDY)

.PHONY: tensorboard
tensorboard: setup  ## show a run in TensorBoard: RUN=runs/digits-…
	$(BIN)/ffnet board $(RUN)

test: setup  ## the quick tests: a study, a kill and a resume, an export, a REST answer
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types  ## lint, types and all tests, with their coverage: what CI runs
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --cov

format: setup  ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: setup  ## make the README's tables of results anew: about an hour
	$(BIN)/python docs/results.py

picture: setup  ## draw the README's pictures of a terminal and of a run's page anew
	$(BIN)/python docs/picture.py

constraints:  ## pin constraints.txt to what a new environment gets today
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[serve,gp,peers]' --group dev
	$(BIN)/pip freeze --all --exclude-editable --exclude setuptools > constraints.txt
	touch .venv/.ready

# make env    the environment (.venv), made when missing or stale; everything below rests on it
# make demo   grade a class of every kind and print the gradebook
# make test   the whole test suite; make test-slow adds what takes long

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
AS_ROOT := $(shell test "$$(id -u)" = 0 && echo --allow-root)

.PHONY: env sandbox demo test test-slow lint format lessons lab desk bench constraints

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[course,dev,cluster]'
	touch $@

# What graders need and no package registry of Python has: bubblewrap, from Debian's.
sandbox:
	@command -v bwrap >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get update -qq >/dev/null && apt-get install -qq -y bubblewrap >/dev/null; } \
		|| echo "bubblewrap is not installed: the tests of the sandbox will be skipped"

demo: env
	$(BIN)/tlcore demo

test: env sandbox
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: env sandbox
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow or not slow"

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lessons: env
	$(BIN)/tlcore build

lab: env
	$(BIN)/jupyter lab --notebook-dir=lessons $(AS_ROOT)

desk: lessons
	JUPYTER_CONFIG_PATH=course $(BIN)/jupyter lab --config=course/desk_config.py $(AS_ROOT)

bench: env
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[course,dev,cluster,bench]'
	set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

# Names and versions only: no hashes, no addresses.
constraints: env
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate --no-header pyproject.toml -o constraints.txt

# Two commands do all their own set-up: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
TEST_ARGS ?=
FUZZ_ARGS ?=
# Twice as many as two cores: half of their time the tests wait for a machine or a market.
WORKERS ?= 4

.PHONY: demo test lint fuzz clean

$(VENV)/.made-demo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=python3.12 or so" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.made-dev: $(VENV)/.made-demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,dev]'
	@touch $@

demo: $(VENV)/.made-demo
	@$(BIN)/rgt demo $(DEMO_ARGS)

# An empty value is none: what one worker compiles is there for the next run, and for each program that a test starts.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.made-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -q $(TEST_ARGS)

lint: $(VENV)/.made-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

fuzz: $(VENV)/.made-dev
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m benchmarks.fuzz.run $(FUZZ_ARGS)

clean:
	rm -rf $(VENV) build dist

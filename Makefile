# Every target sets up what it needs: `make demo` and `make test` work on a fresh machine
# that has python3, make and a C compiler.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow lint format bench manifests setup lock clean

demo: $(READY)
	$(BIN)/pathray demo

test: $(READY)
	$(BIN)/pytest -q -m "not slow"

test-slow: $(READY)
	$(BIN)/pytest -q -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

# Needs kubectl. What the tests of the manifests read, where there is none.
manifests: $(READY)
	$(BIN)/python tests/infra/rendering.py

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $(READY)

lock:
	$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --extra dev --extra server \
		pyproject.toml -o requirements.lock

clean:
	rm -rf .venv build demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis

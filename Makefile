# `make demo` and `make test` need no other set-up: both make .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One process per core, and one thread per process: the networks of the tests are too small to gain from more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 8 --dist loadscope

.PHONY: help demo test lint suite some quick sweep test-cuda format notebooks sync docs teach clean

help:
	@echo "make demo      train a linear CNN on handwritten digits, collapse it to W x + B, compare and time"
	@echo "make test      every check: lint, types, tests, doctests, coverage"
	@echo "make lint      of these, style and types;  make suite: the tests, doctests, coverage"
	@echo "make some      the tests in TESTS alone, such as TESTS=tests/test_compose.py"
	@echo "make quick     the fast tests alone, with fewer random examples: under a minute, between two edits"
	@echo "make sweep     the tests that take long, SWEEP=3000 random configurations of every operation and as many random"
	@echo "               programs of each kind, and the whole suite in Python's development mode"
	@echo "make test-cuda the tests that need a CUDA device, alone; where there is none, they are skipped and say so"
	@echo "make notebooks open the notebooks in JupyterLab"
	@echo "make docs      build the site in build/docs: the notebooks as run, the API reference, the records"
	@echo "make teach     for a class: notebooks without solutions, and slides, in build/teach"
	@echo "make sync      write the project's links, bring the notebooks' .py and .ipynb in line, remove outputs"
	@echo "make format    format the code, and fix what ruff can fix"
	@echo "make clean     remove the environment and everything that was built"

demo: $(VENV)/demo.installed
	$(BIN)/linalg-cnn demo --out demo

test: lint suite

lint: $(VENV)/test.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

suite: $(VENV)/test.installed
	$(PYTEST) --cov --durations=20 $(LATER:%=--ignore=%)

some: $(VENV)/test.installed
	$(PYTEST) $(TESTS)

quick: $(VENV)/test.installed
	HYPOTHESIS_PROFILE=quick $(PYTEST) tests -m "not slow and not sweep"

sweep: $(VENV)/test.installed
	$(PYTEST) tests -m sweep
	HYPOTHESIS_PROFILE=sweep $(PYTEST) tests/test_operations.py -k torch_computes
	HYPOTHESIS_PROFILE=sweep $(PYTEST) tests/test_random_modules.py -k program
	PYTHONDEVMODE=1 PYTHONWARNINGS=error $(PYTEST)

# one process: several would share the memory of the card
test-cuda: $(VENV)/test.installed
	$(BIN)/pytest tests -m cuda --durations=10

format: $(VENV)/test.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/notebooks.installed
	$(BIN)/jupyter-lab notebooks/01_convolution_is_a_matrix.ipynb

sync: $(VENV)/notebooks.installed
	$(BIN)/python docs/_ext/addresses.py
	$(BIN)/jupytext --sync notebooks/*.py
	$(BIN)/jupyter-nbconvert --log-level WARN --clear-output --inplace notebooks/*.ipynb

docs: $(VENV)/docs.installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -d build/doctrees docs build/docs
	@touch build/docs/.built
	@echo "open build/docs/index.html"

teach: $(VENV)/docs.installed
	$(BIN)/python docs/_ext/teaching.py

clean:
	rm -rf $(VENV) demo build *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

# All cores compile what is installed, where pip would use one. Nothing imports the packages' own tests, a quarter of it.
# Some packages carry templates that are no Python: compiling these fails.
$(VENV)/%.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[$*]'
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true
	touch $@

# The README's two commands are `make quickstart` and `make test`; each builds .venv where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := $(VENV)/.extras

.PHONY: quickstart test test-all test-nightly lint format docs venv clean

quickstart: $(READY)
	$(BIN)/raykd quickstart --output runs/quickstart

test: $(READY)
	$(BIN)/python -m pytest

# Long cluster and fault tests, and those of the optional packages, beside those of `make test`.
test-all: $(EXTRAS)
	$(BIN)/python -m pytest -m 'slow and not nightly'

# Tests too long for either.
test-nightly: $(EXTRAS)
	$(BIN)/python -m pytest -m nightly

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What `lint` can mend by itself.
format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The reference of the configuration, from its models.
docs: $(READY)
	$(BIN)/raykd config --markdown > docs/configuration.md

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

$(EXTRAS): $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,onnx,mlflow,wandb,trainer]'
	touch $(EXTRAS)

clean:
	rm -rf $(VENV) runs build *.egg-info

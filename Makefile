# make train   create the environment and train GPT-2 small on what every machine has
# make test    run the tests
# make check   what to run before a commit: format, lint, types, the quick tests

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/gpt2_small.yaml
JOBS ?= 2

.PHONY: train test check test-gpu format docs clean

train: $(VENV)/.installed
	$(BIN)/python train.py --config $(CONFIG) $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n $(JOBS) -q -m "not slow" tests/configs tests/trainers $(ARGS)

test-gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m gpu $(ARGS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev
	$(BIN)/python -m groundup.configs.docs > docs/configuration.md.tmp && mv docs/configuration.md.tmp docs/configuration.md
	$(BIN)/python tests/models/hf/families_page.py > docs/families.md.tmp && mv docs/families.md.tmp docs/families.md

# The version of torch that the tests are known to pass with; TORCH="torch>=2.6" takes whatever is newest.
$(VENV)/.installed: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache

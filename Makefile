# Everything a person does often is one command. `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test compose-test check audit benchmarks clean

demo: $(VENV)/.installed
	$(BIN)/midstream demo

test: $(VENV)/.installed check
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses auto --dist loadfile

# Each profile of docker-compose.yml but gpu, played on the Docker engine of this machine: half an hour.
compose-test: $(VENV)/.installed
	COMPOSE_TEST=1 $(BIN)/python -m pytest -rP tests/services/test_compose.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint --no-color */Dockerfile

# Fails on a known vulnerability alone; says where there was no network to look them up.
audit: $(VENV)/.installed
	$(BIN)/python .ci/audit.py

benchmarks: $(VENV)/.installed
	$(BIN)/python -m benchmarks

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "midstream needs Python 3.11 or later; name one with make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing midstream with torch and torchvision into $(VENV); this takes some minutes once."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

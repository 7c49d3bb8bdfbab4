# Everything a person does often is one command. `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test compose-test check audit benchmarks docs references clean

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

# The documentation as a site, in docs/_site; a broken link between pages fails it.
docs: $(VENV)/.installed references
	$(BIN)/python -m sphinx -W -q docs docs/_site
	@echo "docs/_site/index.html"

# The pages that are written from the code: commands, configuration, players, REST.
references: $(VENV)/.installed
	$(BIN)/python -m docs.references

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "midstream needs Python 3.11 or later; name one with make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing midstream with torch and torchvision into $(VENV); this takes some minutes once."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf docs/_site $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

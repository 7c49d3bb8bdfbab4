# Everything a person does often is one command. `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# bash, so that a failing pip fails its pipe.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROGRESS := awk -v terminal=$$([ -t 1 ] && echo 1 || echo 0) -f .ci/installing.awk

.PHONY: help demo test tests quick compose-test check format audit benchmarks docs references package clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-play ## play three games on embedded digits; print a table, draw a plot
	$(BIN)/midstream demo

# mypy keeps one core busy for a minute, so the checks run beside the tests; what they say is printed at once.
test: $(VENV)/.installed ## run all checks and all tests
	@$(MAKE) --no-print-directory --jobs 2 check tests

# The services' tests wait for sockets and disks: three processes for two cores.
PYTEST := -m pytest --dist worksteal --numprocesses $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 ))

tests: $(VENV)/.installed
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python $(PYTEST)

quick: $(VENV)/.installed ## run the tests that start no process and no browser: a minute and a half on two cores
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) -q -m "not slow and not process and not browser and not gpu"

# Each profile of docker-compose.yml but gpu, played on the Docker engine of this machine: half an hour.
compose-test: $(VENV)/.installed ## play each profile of docker-compose.yml; needs a Docker engine
	COMPOSE_TEST=1 $(BIN)/python -m pytest -rP tests/services/test_compose.py

check: $(VENV)/.installed ## lint, format, types, import rules, Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint --no-color */Dockerfile

format: $(VENV)/.installed ## format the code and sort its imports
	$(BIN)/ruff check --quiet --select I --fix .
	$(BIN)/ruff format .

# Fails only on a known vulnerability; without a network it says so and passes.
audit: $(VENV)/.installed ## look up known vulnerabilities of the dependencies
	$(BIN)/python .ci/audit.py

benchmarks: $(VENV)/.installed ## measure speed and memory
	$(BIN)/python -m benchmarks

# A broken link between pages fails it.
docs: $(VENV)/.installed references ## build the documentation as a site, in docs/_site
	$(BIN)/python -m sphinx -W -q docs docs/_site
	@echo "docs/_site/index.html"

# docs/commands.md, configuration.md, players.md and rest.md.
references: $(VENV)/.installed ## rewrite the pages that come from the code
	$(BIN)/python -m docs.references

package: $(VENV)/.installed ## build the wheel and the sdist in dist/, and check what an index would show
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . | tail -1
	$(BIN)/python -m twine check --strict dist/*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "midstream needs Python 3.11 or later; name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What `make demo` needs. torch for CUDA takes 5 GB; an index of CPU builds, such as PyTorch's own, has it in 1 GB.
$(VENV)/.installed-play: pyproject.toml | $(VENV)/bin/python
	@echo "Installing midstream into $(VENV); this takes some minutes once."
ifeq ($(TORCH),cpu)
	@test -n "$(TORCH_INDEX)" || { echo "TORCH=cpu needs TORCH_INDEX=ADDRESS, an index with CPU builds of torch"; exit 1; }
	@$(PIP) install --index-url "$(TORCH_INDEX)" torch torchvision | $(PROGRESS)
endif
	@$(PIP) install --editable '.[play]' | $(PROGRESS)
	@touch $@

# What the checks, the tests and the pages need on top.
$(VENV)/.installed: $(VENV)/.installed-play
	@$(PIP) install --editable '.[dev]' | $(PROGRESS)
	@touch $@

clean: ## delete the environment, caches and the built site
	rm -rf docs/_site $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

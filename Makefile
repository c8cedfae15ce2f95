# The verbs of arcspot. `make help` lists them.
# Everything is installed into .venv and .venv-sam; a second run installs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TASKS ?= examples/tasks
OUT ?= demo-results
SEEDS ?= 200
PRETRAIN_SECONDS ?= 9000

# `make pretrain status` is `make pretrain DO=status`: behind the goal pretrain these words are its verbs, and no
# goals of their own; anywhere else they are not known.
PRETRAIN_VERBS := start status pause resume keep
ifeq ($(firstword $(MAKECMDGOALS)),pretrain)
PRETRAIN_WORDS := $(wordlist 2,99,$(MAKECMDGOALS))
ifneq ($(filter-out $(PRETRAIN_VERBS),$(PRETRAIN_WORDS))$(word 2,$(PRETRAIN_WORDS)),)
$(error make pretrain takes one of: $(PRETRAIN_VERBS))
endif
DO ?= $(firstword $(PRETRAIN_WORDS) start)
.PHONY: $(PRETRAIN_VERBS)
$(PRETRAIN_VERBS): ; @:
endif
DO ?= start

# The stamps hold what was installed: they are renewed when the list changes.
VENV := .venv/.installed
SAM := .venv-sam/.installed
PIP := --quiet --disable-pip-version-check

.PHONY: help setup demo test test-handlers test-image simulate check format rehearse bench pretrain clean

# A python of one version that really runs: on PATH, else one that pyenv keeps (its shim is on PATH, and refuses).
find-python = $$(for each in python$(1) "$$(pyenv root 2>/dev/null)"/versions/$(1).*/bin/python$(1); do \
	"$$each" -c "" 2>/dev/null && command -v "$$each" && break; done || true)

# The functions' own tests: every handler over moto, their decisions, and what AWS's formats are. In less than a minute.
HANDLER_TESTS := tests/unit/control $(foreach each,handlers messages timers prices door_bell watchdog_metrics,tests/integration/test_$(each).py)
# What they need besides the layer's own list. No solver.
HANDLER_TOOLS := boto3 hypothesis pytest pytest-timeout aws-sam-translator click \
	"moto[cloudformation,dynamodb,ec2,events,s3,sns,sqs,ssm,stepfunctions,sts]>=5.2.3"
IMAGE_TESTS := tests/unit/solver tests/unit/runner tests/integration/test_runner_process.py

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV): pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "arcspot needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo "setting up .venv (torch is large; this happens once)"
	test -x .venv/bin/python || "$(PYTHON)" -m venv .venv
	.venv/bin/python -m pip install $(PIP) torch==2.13.0
	.venv/bin/python -m pip install $(PIP) --editable ".[solver,local,dev]"
	touch $@

$(SAM):
	@echo "setting up .venv-sam (the AWS SAM CLI pins much and needs an environment of its own)"
	test -x .venv-sam/bin/python || "$(PYTHON)" -m venv .venv-sam
	.venv-sam/bin/python -m pip install $(PIP) aws-sam-cli==1.170.0
	touch $@

setup: $(VENV) $(SAM) ## Install everything into .venv and .venv-sam

demo: setup ## The whole path on this machine: TASKS=dir OUT=dir
	.venv/bin/arcspot demo --tasks "$(TASKS)" --out "$(OUT)"

test: setup ## All tests, the end-to-end one on the local emulator included
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-handlers: ## The functions' tests under Lambda's own Python, where that is installed
	@python="$(call find-python,3.13)"; \
	if test -z "$$python"; then echo "test-handlers: skipped, there is no python3.13 on PATH or in pyenv"; exit 0; fi; \
	wanted="$$(sha256sum layers/common/requirements.txt Makefile)"; \
	if test "$$(cat .venv-handlers/.installed 2>/dev/null)" != "$$wanted"; then \
		echo "setting up .venv-handlers with $$("$$python" --version)"; \
		test -x .venv-handlers/bin/python || "$$python" -m venv .venv-handlers; \
		.venv-handlers/bin/python -m pip install $(PIP) --no-deps --require-hashes -r layers/common/requirements.txt; \
		.venv-handlers/bin/python -m pip install $(PIP) $(HANDLER_TOOLS); \
		echo "$$wanted" > .venv-handlers/.installed; \
	fi; \
	PYTHONPATH=layers/common .venv-handlers/bin/python -m pytest -q $(HANDLER_TESTS)

# Large (torch with CUDA, gigabytes) and slow: run by hand at each change of the image, and recorded in
# docs/decisions/053-image.md. Not in CI.
test-image: ## The solver's and runner's tests under the image's Python and torch
	@facts() { "$(PYTHON)" -m arcspot_cli.images "$$1"; }; \
	version="$$(facts python)"; torch="$$(facts torch)"; \
	python="$(call find-python,$$version)"; \
	test -n "$$python" || { echo "test-image: there is no python$$version on PATH or in pyenv"; exit 1; }; \
	test -x .venv-image/bin/python || "$$python" -m venv .venv-image; \
	.venv-image/bin/python -m pip install $(PIP) "torch==$$torch.*"; \
	.venv-image/bin/python -m pip install $(PIP) --editable ".[dev,local]"; \
	.venv-image/bin/python -c "import sys, torch; print('python', sys.version.split()[0], 'torch', torch.__version__)"; \
	.venv-image/bin/python -m pytest -q $(IMAGE_TESTS)

simulate: setup ## Histories of the stack under faults: SEEDS=n; fails if anything breaks
	.venv/bin/arcspot simulate --seeds "$(SEEDS)"

check: setup ## ruff, mypy --strict, sam validate --lint, and how long the image is patched
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam validate --lint
	.venv/bin/python -m arcspot_cli.images

format: setup ## Let ruff mend what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

rehearse: setup ## The first deployment into an account, at most 1 USD: EMAIL=you@… REGION=…, or LOCAL=1 on this machine
	.venv/bin/arcspot $(if $(LOCAL),--local,--aws --region "$(REGION)") rehearse $(if $(EMAIL),--email "$(EMAIL)") $(if $(FOLDER),--folder "$(FOLDER)")

bench: setup ## Measure; writes bench/out and a table for docs/benchmarks.md
	.venv/bin/python -m bench

pretrain: $(VENV) ## Grow the model in the background, or status|pause|resume|keep: DATA=dir PRETRAIN_SECONDS=n
	@.venv/bin/python -m gpu_runner.lineage $(DO) $(if $(filter start,$(DO)),--seconds "$(PRETRAIN_SECONDS)" $(if $(DATA),--data "$(DATA)"))

clean: ## Remove what was built and measured (not the environments)
	rm -rf .aws-sam .arcspot/build bench/out .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

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
DO ?= $(firstword $(filter $(PRETRAIN_VERBS),$(MAKECMDGOALS)) start)
.PHONY: $(PRETRAIN_VERBS)
$(PRETRAIN_VERBS): ; @:
endif
DO ?= start

# The stamps hold what was installed: they are renewed when the list changes.
VENV := .venv/.installed
SAM := .venv-sam/.installed
PIP := --quiet --disable-pip-version-check

.PHONY: help setup demo test simulate check format rehearse bench pretrain clean

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

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
	.venv/bin/python -m pytest

simulate: setup ## Histories of the stack under faults: SEEDS=n; fails if anything breaks
	.venv/bin/arcspot simulate --seeds "$(SEEDS)"

check: setup ## ruff, mypy --strict, sam validate --lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam validate --lint

format: setup ## Let ruff mend what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

rehearse: setup ## The first deployment into an account, at most $$1: EMAIL=you@… REGION=…, or LOCAL=1 on this machine
	.venv/bin/arcspot $(if $(LOCAL),--local,--aws --region "$(REGION)") rehearse $(if $(EMAIL),--email "$(EMAIL)") $(if $(FOLDER),--folder "$(FOLDER)")

bench: setup ## Measure; writes bench/out and a table for docs/benchmarks.md
	.venv/bin/python -m bench

pretrain: $(VENV) ## Grow the model in the background, or status|pause|resume|keep: DATA=dir PRETRAIN_SECONDS=n
	@.venv/bin/python -m gpu_runner.lineage $(DO) $(if $(filter start,$(DO)),--seconds "$(PRETRAIN_SECONDS)" $(if $(DATA),--data "$(DATA)"))

clean: ## Remove what was built and measured (not the environments)
	rm -rf .aws-sam .arcspot/build bench/out .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

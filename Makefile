# Each command makes what it needs first, in .venv; nothing has to be installed before but Python.
.PHONY: help train test quick lint format constraints

JOBS ?= 2
WORKDIR ?= runs/catch
PYTHON = .venv/bin/python

help:
	@echo 'make train   train DQN on bsuite Catch in one process and draw its curve'
	@echo 'make test    all tests'
	@echo 'make quick   the tests that need no training and no Launchpad, in under 3 minutes'
	@echo 'make lint    style, types and the direction of imports'
	@echo 'make format  put the code into the house style'

train:
	@.ci/setup run
	$(PYTHON) -m culmen train dqn --environment bsuite/catch/0 --steps 20000 --seed 1 \
	  --workdir $(WORKDIR)
	$(PYTHON) -m culmen plot $(WORKDIR) --out $(WORKDIR)/curve.png

test:
	@.ci/setup test
	$(PYTHON) -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

quick:
	@.ci/setup test
	$(PYTHON) -m pytest -n $(JOBS) --dist loadgroup -m 'not slow and not learning and not launchpad' $(ARGS)

lint:
	@.ci/setup test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

format:
	@.ci/setup test
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# The newest set that setup.cfg allows, for each Python.
constraints:
	@.ci/setup test
	.ci/constraints

# Each command makes what it needs first, in .venv; nothing has to be installed before but Python.
.PHONY: help train test test-all quick lint format constraints

JOBS ?= 2
WORKDIR ?= runs/catch
PYTHON = .venv/bin/python
# Each test run is several processes, and many tests start more: modules are compiled once for all.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(PYTHON) -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder

help:
	@echo 'make train   train DQN on bsuite Catch in one process and draw its curve'
	@echo 'make test    the tests that CI runs; of one agent, all: make test ARGS=--agent=sac'
	@echo 'make test-all  everything for every agent; goes on where it stopped'
	@echo 'make quick   the tests that need no training and no Launchpad, in under 2 minutes'
	@echo 'make lint    style, types and the direction of imports'
	@echo 'make format  put the code into the house style'

train:
	@.ci/setup run
	$(PYTHON) -m culmen train dqn --environment bsuite/catch/0 --steps 20000 --seed 1 \
	  --workdir $(WORKDIR)
	$(PYTHON) -m culmen plot $(WORKDIR) --out $(WORKDIR)/curve.png

test:
	@.ci/setup test
	$(PYTEST) $(ARGS)

test-all:
	@.ci/setup test
	$(PYTHON) -m tests.parts -n $(JOBS) --dist loadgroup --no-loadscope-reorder $(ARGS)

quick:
	@.ci/setup test
	$(PYTEST) -m 'not slow and not learning and not launchpad' $(ARGS)

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

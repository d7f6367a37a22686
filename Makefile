# Everything runs in .venv, which the first command makes. Needs Python 3.11 or 3.12, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help run up down test test-slow test-faults test-faults-short lint format bench bench-solver bench-shapenet bench-celeba bench-codec clean

help:  ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# torch first, alone: a resolver that sees it together with the rest may take a build with CUDA
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

run: $(INSTALLED)  ## Run the main job, era5/demo (about five minutes on two cores)
	$(BIN)/functory run era5/demo

up: $(INSTALLED)  ## Start the service: server, work pools, deployments and workers, in the background
	$(BIN)/functory service up

down: $(INSTALLED)  ## Stop the service, with its runs
	$(BIN)/functory service down

test: $(INSTALLED)  ## Run the tests (ten minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m 'not slow' -n 2 --dist loadfile

test-slow: $(INSTALLED)  ## Run the tests that take longer
	$(BIN)/pytest -m slow --timeout 3600

test-faults: $(INSTALLED)  ## Kill, fill, cut and damage: all faults, with a table (an hour)
	$(BIN)/pytest -m faults tests/faults --timeout 3600 --write-table

test-faults-short: $(INSTALLED)  ## One fault of each class (nine minutes)
	$(BIN)/pytest -m 'faults and short' tests/faults --timeout 900

lint: $(INSTALLED)  ## Check style, types, the floors of the house, and known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	.ci/audit $(BIN)

format: $(INSTALLED)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED)  ## Compare with the published method (an hour), and measure memory and overhead
	$(BIN)/python benchmarks/published_method.py
	$(BIN)/python benchmarks/prepare_memory.py
	$(BIN)/python benchmarks/orchestration.py
	$(BIN)/python benchmarks/refresh.py --years 1 40 --months 3
	$(BIN)/python benchmarks/scale.py fit
	$(BIN)/python benchmarks/scale.py training
	$(BIN)/python benchmarks/scale_plan.py

bench-solver: $(INSTALLED)  ## Compare inner solvers and principal components (ten minutes)
	$(BIN)/python benchmarks/solver.py short
	$(BIN)/python benchmarks/encoding.py

# sleeping threads: torch is loaded before the library can ask for them
bench-shapenet: $(INSTALLED)  ## Shapes: quality, classifiers, samples, completion, preparation (an hour)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/shapenet.py preparation
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/shapenet.py modelnet
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/shapenet.py demo

bench-celeba: $(INSTALLED)  ## Images: quality, likeness of samples, spatial functions, loader (two hours)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/celeba.py cifar10
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/celeba.py kodak
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/celeba.py mnist
	$(BIN)/python benchmarks/loader.py

bench-codec: $(INSTALLED)  ## Codecs: bits at equal errors against those of others (two hours)
	for part in uk canesm5 cifar10 kodak librispeech mri speed; do \
		OMP_NUM_THREADS=1 $(BIN)/python benchmarks/codec.py $$part || exit 1; \
	done
	$(BIN)/python benchmarks/coin.py --images 2 15 23 --size 5x30 --seconds 60 120 300

clean:  ## Remove the virtual environment (the store stays)
	rm -rf $(VENV)

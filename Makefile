# nf_mnist: `make train` and `make test` set themselves up; `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An index of torch wheels, for smaller builds than the default (5.5 GB on Linux): make setup TORCH_INDEX=URL
TORCH_INDEX ?=
PIP := $(BIN)/pip --disable-pip-version-check --quiet --no-input
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all lint format types bench tensorboard gpu notebooks docs docs-serve play page wheel clean

help:  ## List these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready  ## Make the environment .venv

$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "setting up $(VENV) (torch is large; this takes a few minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[dev]'
	@touch $@

train: setup  ## Train a small resflow on MNIST, about five minutes on two CPU cores
	$(BIN)/python -m nf_mnist.train experiment=quickstart

test: lint types  ## Check style and types, and run the tests except the slow ones
	$(TEST)

test-all: lint types  ## Check style and types, run all tests, and print the coverage of src
	$(TEST) -m "" --cov --cov-report=term

lint: setup  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## Fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup  ## Check types
	$(BIN)/mypy

bench: setup  ## Measure speed, also against other libraries (about half an hour)
	$(PIP) install -c constraints.txt -e '.[peers]'
	for name in training_throughput data_path step_profile muon_iterations logging_cost; do $(BIN)/python -m benchmarks.speed.$$name || exit 1; done
	$(BIN)/python -m benchmarks.speed.peers --architectures glow realnvp flat
	$(BIN)/python -m tools.tables

gpu: setup  ## Measure a GPU, in at most ten minutes and without a network
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/python -m tools.tables

tensorboard: setup  ## Look at all runs under outputs/
	$(BIN)/tensorboard --logdir outputs

notebooks: setup  ## Run the notebooks; pages with their output go to docs/notebooks
	$(PIP) install -c constraints.txt -e '.[peers]'
	$(BIN)/python -m tools.notebooks

docs: setup  ## Build the documentation as a site in build/site, with a search and a reference of all public names
	$(BIN)/python -m tools.site

docs-serve: setup  ## Show the site at http://localhost:8000
	$(BIN)/python -m tools.site serve

play: setup  ## Play with a flow on a page of its own, at http://127.0.0.1:7860
	$(PIP) install -c constraints.txt -e '.[play]'
	$(BIN)/python -m nf_mnist.play

page: setup  ## Write a page to build/page that samples and completes digits in a browser; it needs npm
	$(PIP) install -c constraints.txt -e '.[page]'
	rm -rf build/page
	$(BIN)/python -m nf_mnist.export_page out=build/page

wheel: setup  ## Build the wheel and the source archive in dist/
	$(BIN)/python -m hatchling build

clean:  ## Remove caches and builds; outputs/ and .venv stay
	rm -rf build dist .coverage .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

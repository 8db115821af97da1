# Each target sets up what it needs: a virtual environment in .venv with the versions of constraints.txt.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.matches
# The environment is reused as long as neither the lock nor the project's own list of needs has changed.
WANTED := $(shell cat constraints.txt pyproject.toml | cksum | tr ' ' '-')

.PHONY: setup demo test lint bench check-slow check-originals check-online clean

setup:
	@if [ "$$(cat $(STAMP) 2>/dev/null)" != "$(WANTED)" ]; then \
	    set -e; \
	    [ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); \
	    echo "setting up $(VENV) (about 6 GB, some minutes the first time)"; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	        --constraint constraints.txt --editable '.[all,test,peers]'; \
	    echo "$(WANTED)" > $(STAMP); \
	fi

demo: setup
	$(BIN)/python bench/demo.py

# Stealing work keeps neighbours, which share fixtures and compiled programs, in one process, and no core idle.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test: setup
	$(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/imports.py

bench: setup
	$(BIN)/python bench/step.py

check-slow: setup
	$(PYTEST) -m "not originals"

# Compares with other programs' own code; ORIGINALS is a folder of checkouts: big_vision, vision_transformer, dinov2,
# clip.
check-originals: setup
	@[ -d "$(ORIGINALS)" ] || { echo "say make check-originals ORIGINALS=FOLDER, where the checkouts are"; exit 2; }
	VIT_ORIGINALS="$(abspath $(ORIGINALS))" $(PYTEST) -m originals

# Asks the servers of known sets whether they serve what the table says; FULL=1 reads every archive (13 GB).
check-online: setup
	$(BIN)/python -m bench.check_online $(if $(FULL),--full)

clean:
	rm -rf $(VENV)

# The few commands people use. `make study` and `make test` need only Python 3.11 or newer.
PYTHON ?= python3
SPEC ?= study/specs/quickstart.yaml
BIN := .venv/bin
# Where there is no NVIDIA driver, torch's own index offers a build without CUDA packages.
TORCH_INDEX := $(if $(shell command -v nvidia-smi),,--extra-index-url https://download.pytorch.org/whl/cpu)

.PHONY: study test lint clean

study: .venv/installed
	$(BIN)/python -m study run $(SPEC)

# A worker a core. The tests of one file share what is slow to make, so they stay together; in the
# order of the folders, because sorted by their number the few and long ones would come last, alone.
test: .venv/installed
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# torch goes first, so that nothing else can choose another build of it.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; name one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --retries 1 $(TORCH_INDEX) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv

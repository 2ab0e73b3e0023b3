# Set-up, checks and the demo. `make help` lists the targets.
PYTHON ?= python3.11
VENV ?= .venv
EXTRAS ?= sb3,dev
TORCH_INDEX ?=
WORLD ?=
PYTEST_ARGS ?= -n 2 --dist loadfile
PIP_ARGS ?= --quiet
UPGRADE ?=

comma := ,
stamp := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
core_stamp := .venv-core/.installed
torch := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock)
needs_torch := $(filter all bench lm sb3,$(subst $(comma), ,$(EXTRAS)))

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test core-test lint lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables (current value):"
	@echo "  EXTRAS=$(EXTRAS)      extras to install: sb3, marl, lm, ui, ray, openenv, bench, dev, all"
	@echo "  PYTHON=$(PYTHON)   the Python that $(VENV) is made from (3.11 or later)"
	@echo "  TORCH_INDEX=$(TORCH_INDEX)        package index to take torch from (say, PyTorch's CPU index)"
	@echo "  WORLD=$(WORLD)              the world for the demo; the bundled one if empty"
	@echo "  PYTEST_ARGS=$(PYTEST_ARGS)   arguments for pytest: by default two processes"

install: $(stamp)  ## make .venv and install crs-gym with EXTRAS into it

demo: install  ## play the demo; WORLD=... picks another world
	@$(VENV)/bin/python -m experiments.demo $(if $(WORLD),--world $(WORLD))

test: install  ## run the tests
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

core-test: $(core_stamp)  ## run the tests with the core alone, without any extra
	.venv-core/bin/python -m pytest $(PYTEST_ARGS)

lint: install  ## check style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lock: .venv-lock/bin/uv  ## resolve requirements.lock again; UPGRADE=1 takes newer versions
	.venv-lock/bin/uv pip compile pyproject.toml --quiet --no-annotate --all-extras \
		--universal --python-version 3.11 --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
		--output-file requirements.lock
	@! grep -nE '==[^ ]*\+|://|^--' requirements.lock || \
		{ echo "requirements.lock: the lines above name one build or one index"; exit 1; }

clean:  ## remove caches, builds and all environments but .venv
	rm -rf .venv-core .venv-lock build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Environments. pip is the last thing that `venv` makes, so a half-made one is made again.
%/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "crs-gym needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $*

define torch_note
$(torch) is missing. pip takes the build that your settings (find-links, indices) offer.
  Without any, on Linux: the CUDA build, several gigabytes. Right for an NVIDIA GPU.
  For a CPU: stop here and run  make $(or $(MAKECMDGOALS),install) TORCH_INDEX=<URL of PyTorch's CPU index>
  (pytorch.org, "Get Started", shows it).
  JAX runs on the CPU unless you add its CUDA plugin afterwards:
  $(VENV)/bin/pip install -c requirements.lock 'jax[cuda13]'
endef
export torch_note

$(stamp): pyproject.toml requirements.lock | $(VENV)/bin/pip
ifneq ($(needs_torch),)
	@if ! $(VENV)/bin/pip list --format freeze | grep -qE '^$(torch)(\+|$$)'; then \
		echo "$$torch_note"; \
		$(VENV)/bin/pip install --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(torch); \
	fi
endif
	@echo "Installing crs-gym[$(EXTRAS)] into $(VENV): some minutes the first time (PIP_ARGS= to watch)."
	@$(VENV)/bin/pip install $(PIP_ARGS) -c requirements.lock -e '.[$(EXTRAS)]'
	@touch $@

$(core_stamp): pyproject.toml requirements.lock | .venv-core/bin/pip
	@echo "Installing the core of crs-gym into .venv-core: a minute or two the first time."
	@.venv-core/bin/pip install $(PIP_ARGS) -c requirements.lock -e . pytest pytest-xdist hypothesis
	@touch $@

.venv-lock/bin/uv: | .venv-lock/bin/pip
	@.venv-lock/bin/pip install $(PIP_ARGS) uv

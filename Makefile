# Set-up, checks and the demo. `make help` lists the targets.
PYTHON ?= python3.11
VENV ?= .venv
EXTRAS ?= sb3,lm,ui,openenv,dev
TORCH_INDEX ?=
WORLD ?=
PYTEST_ARGS ?= -n 2 --dist loadfile
PIP_ARGS ?= --quiet
RLLIB_ARGS ?= --resume
UPGRADE ?=

comma := ,
stamp := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
core_stamp := .venv-core/.installed
oldest_stamp := .venv-oldest/.installed
rllib_stamp := .venv-rllib/.installed
# the oldest that is supported, and the one that RLlib wants
oldest_gymnasium := gymnasium==1.2.2
torch := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock)
needs_torch := $(filter all bench dev lm sb3,$(subst $(comma), ,$(EXTRAS)))

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install core-install demo lm-demo test core-test test-oldest rllib lint lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables (current value):"
	@echo "  EXTRAS=$(EXTRAS)      extras to install: sb3, marl, data, lm, ui, ray, openenv, bench, dev, all"
	@echo "  PYTHON=$(PYTHON)   the Python that $(VENV) is made from (3.11 or later)"
	@echo "  TORCH_INDEX=$(TORCH_INDEX)        package index to take torch from (say, PyTorch's CPU index)"
	@echo "  WORLD=$(WORLD)              the world for the demo; the bundled one if empty"
	@echo "  PYTEST_ARGS=$(PYTEST_ARGS)   arguments for pytest: by default two processes"
	@echo "  RLLIB_ARGS=$(RLLIB_ARGS)   arguments for make rllib"

install: $(stamp)  ## make .venv and install crs-gym with EXTRAS into it

demo: install  ## play the demo; WORLD=... picks another world
	@$(VENV)/bin/python -m experiments.demo $(if $(WORLD),--world $(WORLD))

lm-demo: install  ## train a language model that recommends, by imitation and then by PPO
	@$(VENV)/bin/python -m experiments.lm.demo $(if $(WORLD),--world $(WORLD))

test: install  ## run the tests
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

core-install: $(core_stamp)  ## make .venv-core and install the core of crs-gym into it

core-test: core-install  ## run the tests that an extra could change with the core alone
	.venv-core/bin/python -m pytest $(PYTEST_ARGS) --near-extras

test-oldest: $(oldest_stamp)  ## run the environments' tests with the oldest Gymnasium
	.venv-oldest/bin/python -m pytest $(PYTEST_ARGS) tests/envs

rllib: $(rllib_stamp)  ## train RLlib's PPO and compare it; RLLIB_ARGS="--help" lists its arguments
	.venv-rllib/bin/python -m experiments.rllib_ppo $(RLLIB_ARGS)

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
	rm -rf .venv-core .venv-oldest .venv-rllib .venv-lock build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
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

define take_torch
	@if ! $(1)/bin/pip list --format freeze | grep -qE '^$(torch)(\+|$$)'; then \
		echo "$$torch_note"; \
		$(1)/bin/pip install --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(torch); \
	fi
endef

$(stamp): pyproject.toml requirements.lock | $(VENV)/bin/pip
ifneq ($(needs_torch),)
	$(call take_torch,$(VENV))
endif
	@echo "Installing crs-gym[$(EXTRAS)] into $(VENV): some minutes the first time (PIP_ARGS= to watch)."
	@$(VENV)/bin/pip install $(PIP_ARGS) -c requirements.lock -e '.[$(EXTRAS)]'
	@touch $@

$(core_stamp): pyproject.toml requirements.lock | .venv-core/bin/pip
	@echo "Installing the core of crs-gym into .venv-core: a minute or two the first time."
	@.venv-core/bin/pip install $(PIP_ARGS) -c requirements.lock -e . pytest pytest-xdist hypothesis
	@touch $@

.venv-oldest/constraints.txt .venv-rllib/constraints.txt: %/constraints.txt: requirements.lock | %/bin/pip
	@sed 's/^gymnasium==.*/$(oldest_gymnasium)/' $< > $@

$(oldest_stamp): pyproject.toml .venv-oldest/constraints.txt
	@echo "Installing crs-gym with $(oldest_gymnasium) into .venv-oldest: a minute or two the first time."
	@.venv-oldest/bin/pip install $(PIP_ARGS) -c .venv-oldest/constraints.txt \
		-e '.[marl]' pytest pytest-xdist hypothesis
	@touch $@

$(rllib_stamp): pyproject.toml .venv-rllib/constraints.txt
	$(call take_torch,.venv-rllib)
	@echo "Installing crs-gym and RLlib into .venv-rllib: some minutes the first time."
	@.venv-rllib/bin/pip install $(PIP_ARGS) -c .venv-rllib/constraints.txt -e . 'ray[rllib]' $(torch)
	@touch $@

.venv-lock/bin/uv: | .venv-lock/bin/pip
	@.venv-lock/bin/pip install $(PIP_ARGS) uv

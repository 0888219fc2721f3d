# The project's commands. Each builds what it needs in .venv first, once.

# The first of these that is a Python from 3.8 to 3.13 is taken; beside those up to 3.11 MXNet runs
# as it is, hence the order. `make PYTHON=python3.13 ...` asks for another.
PYTHONS = python3.11 python3.12 python3.10 python3.13 python3.9 python3.8 python3 python
BIN = .venv/bin

# 1 installs MXNet for NVIDIA GPUs, 0 for the CPU: by default the former where it can compute on one
# of this machine's GPUs. Where there is no Python yet to ask (uv will bring it), a driver is enough.
ifndef GPU
GPUS := $(shell unset CUDA_VISIBLE_DEVICES; for python in $(BIN)/python $(or $(PYTHON),$(PYTHONS)); \
	do $$python gpus.py 2>/dev/null && break; done)
ifeq ($(GPUS),)
GPU := $(shell if nvidia-smi -L >/dev/null 2>&1; then echo 1; else echo 0; fi)
else
GPU := $(if $(filter supported,$(GPUS)),1,0)
endif
endif
REQUIREMENTS = $(if $(filter 1,$(GPU)),requirements/gpu.txt,requirements.txt)

# These files say that an environment is complete: one that was interrupted has none and is rebuilt.
INSTALLED = .venv/installed-$(notdir $(REQUIREMENTS))
INSTALLED_DEV = .venv/installed-dev
INSTALLED_NOTEBOOK = .venv/installed-notebook

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
VERSION = import sys; print("%d.%d" % sys.version_info[:2])
FITS = import sys; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 13))

.PHONY: help install train test format notebook pins clean rebuild

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/make \1	\2/p' Makefile | expand -t 16

install: $(INSTALLED)  ## build the environment alone

train: $(INSTALLED)  ## train a DenseNet on the embedded data set, in minutes on a CPU
	$(BIN)/python train_cifar10.py --dataset shapes --preset quick

test: $(INSTALLED_DEV)  ## check format, lint, types and tests, as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/python -m pytest -n 2 --dist loadfile

format: $(INSTALLED_DEV)  ## give the code the form that `make test` asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebook: $(INSTALLED_NOTEBOOK)  ## open the walkthrough in Jupyter
	$(BIN)/jupyter lab notebooks/cifar10_walkthrough.ipynb

PIN = uv pip compile --quiet --upgrade --universal --python-version 3.8 --annotation-style line \
	--custom-compile-command "make pins"
pins:  ## renew the pinned versions from pyproject.toml (needs uv)
	$(PIN) --group common --no-emit-package opencv-python -o requirements/common.txt
	$(PIN) --group dev -c requirements/common.txt -o requirements/dev.txt
	$(PIN) --group notebook -c requirements/common.txt -c requirements/dev.txt \
		-o requirements/notebook.txt

clean:  ## remove the environment and the tools' caches; runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment of another Python than the one asked for is built anew.
ifneq ($(and $(PYTHON),$(wildcard $(BIN)/python)),)
ifneq ($(shell $(PYTHON) -c '$(VERSION)' 2>&1),$(shell $(BIN)/python -c '$(VERSION)' 2>&1))
$(INSTALLED): rebuild
endif
endif

$(INSTALLED): $(REQUIREMENTS) requirements/common.txt
	$(info MXNet for $(if $(filter 1,$(GPU)),NVIDIA GPUs,the CPU)$(if $(GPUS),: $(GPUS)))
	@rm -rf .venv; \
	for python in $(or $(PYTHON),$(PYTHONS)); do \
		if $$python -c '$(FITS)' 2>/dev/null; then \
			if $$python -m venv .venv >/dev/null 2>&1; then break; fi; \
			rm -rf .venv; without="$$without $$python"; \
		fi; \
	done; \
	if [ ! -d .venv ] && command -v uv >/dev/null; then \
		uv venv --quiet --seed --python $(or $(PYTHON),3.11) .venv || rm -rf .venv; \
	fi; \
	if [ ! -d .venv ] && [ -n "$$without" ]; then \
		echo "error:$$without cannot make a virtual environment: install its venv module" \
			"(Debian, Ubuntu: apt install python3-venv) or uv" >&2; \
		exit 2; \
	elif [ ! -d .venv ]; then \
		echo "error: found no Python from 3.8 to 3.13 as $(or $(PYTHON),python3): install one" \
			"(Debian, Ubuntu: apt install python3 python3-venv) or uv" >&2; \
		exit 2; \
	fi
	@echo "installing $(REQUIREMENTS) for $$($(BIN)/python --version) into .venv"
	@$(INSTALL) -r $(REQUIREMENTS)
	@touch $@

$(INSTALLED_DEV): $(INSTALLED) requirements/dev.txt
	@echo "installing requirements/dev.txt into .venv"
	@$(INSTALL) -r requirements/dev.txt
	@touch $@

$(INSTALLED_NOTEBOOK): $(INSTALLED_DEV) requirements/notebook.txt
	@echo "installing requirements/notebook.txt into .venv"
	@$(INSTALL) -r requirements/notebook.txt
	@touch $@

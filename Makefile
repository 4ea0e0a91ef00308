# The words of this project: demo test check check-all browser bench serve clean. `make` alone lists them.
# Everything installs into .venv, but for Debian's packages that slow tests take; nothing compiles and nothing needs a GPU.

VENV   := .venv
BIN    := $(VENV)/bin
STORE  ?= mmbert-demo
WANTED := 3.11 3.12 3.13
# Where it is set, as in many images, every process compiles all that it imports anew: seconds each.
unexport PYTHONDONTWRITEBYTECODE
PYTHON_GPU ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## /\1  /p' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## set up .venv (two to four minutes, once)

# torch first and with plain pip, so that a build already on the machine is taken; then the rest.
$(VENV)/.installed: pyproject.toml infra/constraints.txt
	@set -e; found=; \
	for v in $(WANTED); do \
	  if python$$v -c 'import venv, ensurepip' >/dev/null 2>&1; then found=python$$v; break; fi; \
	done; \
	if [ -z "$$found" ] && python3 -c 'import sys, venv, ensurepip; \
	  sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then found=python3; fi; \
	if [ -z "$$found" ]; then \
	  echo "mmbert needs Python 3.11, 3.12 or 3.13 with venv: apt-get install python3-venv" \
	       "(Debian 12 and later), brew install python@3.12, or uv python install 3.12" >&2; exit 2; fi; \
	echo "installing into $(VENV) with $$found (two to four minutes, once)"; \
	[ -x $(BIN)/python ] || $$found -m venv $(VENV); \
	$(BIN)/python -m pip install -qq --disable-pip-version-check 'torch==2.13.0'; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check uv; \
	$(BIN)/uv pip install -q --python $(BIN)/python -c infra/constraints.txt -e '.[dev]' \
	  || $(BIN)/python -m pip install -q -c infra/constraints.txt -e '.[dev]'; \
	touch $@

demo: install ## the tiny cascade, from raw text to an encoder: 3 million tokens, 10 to 40 minutes on 2 cores
	@$(BIN)/mmbert demo --store $(STORE)

test: install ## promises and unit tests, about 10 minutes on 2 cores
	@$(BIN)/python -m pytest -n 2 -m 'not slow'

check: install ## lint, format, types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

check-all: check packages ## check, and every test, the slow ones and the browser's, too (an hour)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup tests/promises tests/unit tests/browser

browser: install ## a newcomer's way through the UI, in Debian's Chromium; pictures in build/browser
	@$(MAKE) -s packages WANTS=chromium
	@$(HAS_BROWSER) >/dev/null || exit 2
	@$(BIN)/python -m pytest -m slow tests/browser $(if $(ON),-k $(ON))

# Debian's packages that slow tests take where they are: a browser, a database, network namespaces.
WANTS ?= chromium postgresql iproute2
HAS_BROWSER := { command -v chromium || command -v chromium-browser || command -v google-chrome; }
packages:
	@missing=; \
	for wanted in $(WANTS); do \
	  case $$wanted in \
	    chromium) $(HAS_BROWSER) ;; \
	    postgresql) ls /usr/lib/postgresql/*/bin/postgres || command -v postgres ;; \
	    iproute2) command -v ip ;; \
	  esac >/dev/null 2>&1 || missing="$$missing $$wanted"; \
	done; \
	[ -z "$$missing" ] && exit; \
	echo "installing$$missing"; \
	{ apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing; } >/dev/null \
	  || echo "not installed: apt-get install$$missing" >&2

bench: install ## speed and memory, as ratios side by side in one run
	@$(BIN)/python -m tests.benchmarks

bench-build: install ## raw text to shards, beside the tokenizer alone
	@$(BIN)/python -m tests.benchmarks build

bench-loader: install ## packed tokens, beside the memcpy bound and peers (PEERS=FOLDER, for a venv)
	@$(BIN)/python -m tests.benchmarks loader $(if $(PEERS),--peers $(PEERS))

bench-step: install ## a training step, beside transformers
	@$(BIN)/python -m tests.benchmarks step

bench-mixture: install ## the plan of base, beside mmBERT's published counts (COUNTS=FILE)
	@$(BIN)/python -m tests.benchmarks mixture $(if $(COUNTS),--counts $(COUNTS))

bench-init: install ## a small model from a base one, beside random weights (15 minutes)
	@$(BIN)/python -m tests.benchmarks init-small $(if $(PLOT),--plot $(PLOT))

# No install: a machine with a GPU has its own torch. make gpu-check PYTHON_GPU=... names another.
gpu-check: ## attention, tokens/s, MFU and memory on a GPU, under 9 minutes, with what is installed
	@$(PYTHON_GPU) -m tests.benchmarks.gpu

serve: install ## the UI of the demo's store: forms, runs, pages
	@$(BIN)/mmbert serve --store $(STORE)

clean: ## remove the environment and the demo's store
	rm -rf $(VENV) $(STORE)

.PHONY: help install demo test check check-all browser packages bench bench-build bench-loader bench-step bench-mixture bench-init gpu-check serve clean

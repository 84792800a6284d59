# make demo, make test: all that a fresh machine needs is Python 3.10 or newer, and no GPU.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
RUFF := $(VENV)/bin/ruff
# Two processes of one thread each: on two cores twice as fast as one of two threads.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile
INSTALL_LOG := $(VENV)/install.log
NO_NETWORK := Temporary failure in name resolution|Name or service not known|NewConnectionError|ConnectTimeout|ProxyError|Network is unreachable|Connection refused|Failed to resolve

.PHONY: demo demo-models serve test test-full lint host clean
.DEFAULT_GOAL := demo

demo: host
	$(PY) -m demo.run

demo-models: host
	$(PY) -m demo.train

serve: host
	$(PY) -m host.serve $(ARGS)

test: host
	$(PYTEST) -m "not slow" $(ARGS)

test-full: host
	$(PYTEST) $(ARGS)
	PYTHONPATH=tests/emulated_device $(PYTEST) -m "not slow" tests/comfy

lint: $(RUFF)
	$(RUFF) check .
	$(RUFF) format --check .

# ComfyUI itself: COMFYUI_PATH, the one above the pack, or a fetched one.
host: $(INSTALLED)
	@printf 'ComfyUI: ' && $(PY) -m host.fetch

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "$(PYTHON) is missing or older than 3.10; name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "$(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)" >&2; exit 1; }

$(INSTALLED): requirements-host.txt | $(PY)
	@echo "Installing the host's Python packages into $(VENV) (6 GB, some minutes; log: $(INSTALL_LOG))"
	@$(PY) -m pip install --disable-pip-version-check --requirement requirements-host.txt > $(INSTALL_LOG) 2>&1 \
	  || { if grep -qE '$(NO_NETWORK)' $(INSTALL_LOG); \
	       then echo "pip found no network: connect and repeat (details: $(INSTALL_LOG))" >&2; \
	       else tail -n 20 $(INSTALL_LOG) >&2; fi; exit 1; }
	@touch $@

# The linter alone: `make lint` needs nothing of the 6 GB.
$(RUFF): requirements-host.txt | $(PY)
	@$(PY) -m pip install --disable-pip-version-check --quiet $$(grep '^ruff==' requirements-host.txt)
	@touch $@

clean:
	rm -rf .host .comfyui_path .ruff_cache .pytest_cache .hypothesis demo/cache demo/output tests/artifacts
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Everything here works on a bare machine with Python 3.11 or newer, make and a C compiler; `make help` lists the verbs.
# The package is installed into $(VENV) in place (editable): the compiled modules lie beside their sources, so that
# Python finds the same files whether it looks in the current directory or among the installed packages.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PEERS ?= $(TORCH) onnxruntime onnx openvino ncnn opencv-python-headless
DEMO_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
GPU_ARGS ?=

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet

# Settings of the caller that would lead Python or pip away from $(VENV); the rest of the environment is left alone.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH PIP_USER PIP_TARGET PIP_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_RETRIES ?= 5

# What the compiled modules are made from. C files that Cython wrote beside a .pyx are products.
PYX := $(shell find pyconv -name '*.pyx')
SOURCES := $(filter-out $(PYX:.pyx=.c),$(shell find pyconv -name '*.pyx' -o -name '*.pxd' -o -name '*.[ch]'))
BUILD_FILES := pyproject.toml pyconv/version.py $(wildcard setup.py) $(SOURCES)

.PHONY: help demo test parity sanitize aarch64 lint cuda-check bench gpu wheel clean
.DELETE_ON_ERROR:

help:  ## list the verbs
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) DEMO_ARGS= PYTEST_ARGS= BENCH_ARGS= GPU_ARGS="

demo: $(VENV)/.demo  ## run a photograph through a layer of each kind; writes features.npy and features.png
	$(PY) -m pyconv features $(DEMO_ARGS)

test: $(VENV)/.test  ## run the tests; PYTEST_ARGS='-k pool -x' goes to pytest
	$(PY) -m pytest $(PYTEST_ARGS)

parity: $(VENV)/.test $(VENV)/.torch  ## run the tests that compare with torch, with torch installed
	$(PY) -c "import torch; print('torch', torch.__version__)"
	$(PY) -m pytest -rs tests/test_torch_parity*.py $(PYTEST_ARGS)

sanitize: $(VENV)/.test  ## run the tests with AddressSanitizer and UBSan, on every instruction set, in a build of its own
	$(PY) tools/sanitize.py $(PYTEST_ARGS)

aarch64: $(VENV)/.test  ## cross-compile for 64-bit ARM, look at the hot loops, and run the kernels' tests under qemu
	$(PY) tools/aarch64.py $(PYTEST_ARGS)

lint: $(VENV)/.lint  ## ruff, cython-lint, mypy on the package, and a look at whitespace and file sizes
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	PATH="$(VENV)/bin:$$PATH" $(PY) -m cython_lint.cython_lint pyconv  # it runs pycodestyle
	$(PY) -m mypy
	$(PY) tools/check_files.py

cuda-check: $(VENV)/.cuda-check  ## compile every CUDA kernel for every architecture, without a GPU, within limits
	$(PY) tools/cuda_check.py

bench: $(VENV)/.bench  ## compare with the libraries that can be installed here
	$(PY) -m benchmarks $(BENCH_ARGS)

gpu:  ## with an NVIDIA GPU and CuPy in $(PYTHON), offline: tests, sanitizer, benchmark; GPU_ARGS=--stand-in rehearses
	$(PYTHON) tools/gpu.py $(GPU_ARGS)

wheel: $(VENV)/.wheel  ## build dist/*.whl from the source archive and try it in an environment of its own
	rm -rf dist
	$(PY) -m build --outdir dist .
	$(PY) tools/wheel_smoke.py dist/*.whl

clean:  ## remove everything that make made
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis features.npy features.png
	rm -f $(PYX:.pyx=.c)
	find pyconv \( -name '*.so' -o -name '*.o' \) -delete
	find . -path "./.*" -prune -o -type d -name __pycache__ -exec rm -rf {} +
	rm -rf .venv .venv-ci
	rm -f $(addprefix $(VENV)/.,created built demo test torch lint cuda-check bench wheel)

# Each stamp says that one thing has been put into the environment.

$(VENV)/.created:
	$(PYTHON) tools/check_machine.py
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Dated before the build begins, so that a source edited meanwhile is seen next time.
$(VENV)/.built: $(VENV)/.created $(BUILD_FILES)
	@echo "building pyconv (a minute or two)"
	@touch $@.new
	$(PY) tools/requirements.py build-system dependencies > $@.txt
	$(PIP) -r $@.txt
	$(PIP) --no-build-isolation --no-deps --editable .
	@mv $@.new $@

$(VENV)/.demo $(VENV)/.test: $(VENV)/.built
$(VENV)/.lint $(VENV)/.cuda-check: $(VENV)/.created
$(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.cuda-check: $(VENV)/.%: pyproject.toml
	$(PY) tools/requirements.py dependencies $* > $@.txt
	$(PIP) -r $@.txt
	@touch $@

$(VENV)/.torch: $(VENV)/.built
	$(PIP) $(TORCH)
	@touch $@

$(VENV)/.wheel: $(VENV)/.created
	$(PIP) build
	@touch $@

$(VENV)/.bench: $(VENV)/.demo
	@for peer in $(PEERS); do \
	    echo "installing $$peer"; \
	    $(PIP) --retries 1 $$peer || echo "bench: $$peer cannot be installed here; going on without it"; \
	done
	@touch $@

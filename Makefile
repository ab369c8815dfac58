# One line a task. Everything runs from .venv, which `make setup` builds from requirements.lock.
PY := .venv/bin/python

.PHONY: setup demo dev test check bench contracts mutants kills lock

setup:      ; @sh .ci/setup.sh
demo: setup ; @$(PY) -m cli.main demo
dev: setup  ; @$(PY) -m cli.main dev
test: setup ; @sh .ci/engine.sh && $(PY) -m pytest
check: setup
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports && $(PY) .ci/sizes.py
bench: setup     ; @$(PY) -m benchmarks
contracts: setup ; @$(PY) -m contracts.compile
mutants: setup   ; @$(PY) -m tests.contracts.mutants
kills: setup     ; @$(PY) -m tests.e2e.kills
lock: ; uv export --all-groups --no-emit-project --format requirements-txt --no-header -q -o requirements.lock

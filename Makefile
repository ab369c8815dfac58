# One line a task. Everything runs from .venv, which `make setup` builds from requirements.lock.
PY := .venv/bin/python

.PHONY: setup engine demo dev test check bench attacks contracts mutants kills fuzz fuzz-long cycles cycles-long openapi lock

setup:      ; @sh .ci/setup.sh
engine: setup ; @sh .ci/engine.sh
demo: engine ; @$(PY) -m cli.main demo
dev: engine  ; @$(PY) -m cli.main dev
test: setup
	@sh .ci/engine.sh || echo "tests that need a container engine will be skipped" >&2
	@$(PY) -m tests.lanes
check: setup
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports && $(PY) .ci/sizes.py
bench: engine    ; @$(PY) -m benchmarks
attacks: engine  ; @$(PY) -m tests.attacks
contracts: setup ; @$(PY) -m contracts.compile
mutants: setup   ; @$(PY) -m tests.contracts.mutants
kills: setup     ; @$(PY) -m tests.e2e.kills
fuzz: setup      ; @$(PY) -m tests.fuzz --cases 5000 --seed 1
fuzz-long: setup ; @$(PY) -m tests.fuzz --cases 100000
cycles: engine   ; @$(PY) -m tests.e2e.cycles --cycles 10 --batch 10
cycles-long: engine ; @$(PY) -m tests.e2e.cycles --cycles 1000
openapi: setup ; @$(PY) -m node.api.spec >sdk/openapi.json
# Keeps what is pinned; with UPGRADE=--upgrade everything is resolved anew.
lock: ; uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-header --prerelease if-necessary $(UPGRADE) -q -o requirements.lock

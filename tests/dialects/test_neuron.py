"""The contract of the Neuron page: code in, result out, under /api/v1/runner."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from msgspec.structs import replace

from market.dialogue import RunEnd
from market.runs import Run, RunCancelled, RunEnded, RunState, step
from tests.builders import NOW
from tests.dialects.shapes import Always, Maybe, must_fit
from tests.node.api.fakes import KEY, OTHER_KEY, ROOT_KEY, FakeRunner, World

PAGE: Final = Path("../shared/dialects/003_eca4ce718b7e4e1d.txt")
BASE: Final = "/api/v1/runner"
HEADERS: Final = {"X-API-KEY": KEY, "Content-Type": "application/json"}
CODE: Final = '{"code": "print(\'Hello, World!\')", "language": "python", "input": ""}'
SUBMITTED: Final[dict[str, Any]] = {
    "success": Always(True),
    "data": {"jobId": "694736e4b1f2f3fedab4d30f", "status": Always("queued")},
}
RESULT: Final[dict[str, Any]] = {
    "code": Always(200),
    "success": Always(True),
    "message": Always("job result fetched successfully"),
    "data": {
        "jobId": "695bd82641bcbdea08ee3fbc",
        "status": "success",
        "language": "cpp",
        "stdout": "Hello Neuron",
        "stderr": "",
        "executionTimeMs": 802,
        "queueTimeMs": 132,
        "totalTimeMs": 934,
        "exitCode": 0,
        "sandboxErrorType": Maybe("TLE"),
        "sandboxErrorMessage": "",
        "queuedAt": "2026-01-05T15:26:30.796Z",
        "startedAt": "2026-01-05T15:26:30.928Z",
        "finishedAt": "2026-01-05T15:26:31.73Z",
    },
}
ERROR_TYPES: Final = ("TLE", "MLE", "CompilationError", "RuntimeError", "SandboxError", "InternalError")
EXAMPLE: Final = """
const res = await fetch('https://api.neuron-labs.xyz/api/v1/runner/submit', {
  method: 'POST',
  headers: { 'X-API-KEY': 'nr_live_...', 'Content-Type': 'application/json' },
  body: JSON.stringify({ code: 'print("Hello")', language: 'python', input: '' })
});
const { data: { jobId } } = await res.json();
const poll = async () => {
  const statusRes = await fetch(
    `https://api.neuron-labs.xyz/api/v1/runner/${jobId}/result`,
    { headers: { 'X-API-KEY': 'nr_live_...' } }
  );
  const { data } = await statusRes.json();
  if (data.status === 'queued' || data.status === 'running') { setTimeout(poll, 1000); }
  else { console.log('Output:', data.stdout); }
};
poll();
"""
"""The page's complete example in short, for where the page is not."""


def submitted(http: httpx.Client) -> str:
    answer = http.post(f"{BASE}/submit", headers=HEADERS, content=CODE)
    assert answer.status_code == 200, answer.text
    must_fit(answer.json(), SUBMITTED)
    id: str = answer.json()["data"]["jobId"]
    return id


def ended(run: Run, **changes: Any) -> Run:
    """The run, ended well unless it says otherwise."""
    well: dict[str, Any] = {
        "state": RunState.SUCCEEDED,
        "results": (RunEnd(stdout="Hello\n", milliseconds=802),),
        "started_at": NOW + 132,
        "finished_at": NOW + 934,
    }
    return replace(run, **{**well, **changes})


def test_code_is_submitted_and_its_result_fetched(http: httpx.Client, world: World) -> None:
    id = submitted(http)
    assert re.fullmatch("[0-9a-f]{24}", id)
    world.runner.put(ended(world.runner.runs[id]))
    answer = http.get(f"{BASE}/{id}/result", headers={"X-API-KEY": KEY})
    assert answer.status_code == 200
    must_fit(answer.json(), RESULT)
    data = answer.json()["data"]
    assert (data["jobId"], data["status"], data["exitCode"], data["sandboxErrorType"]) == (id, "success", 0, None)
    assert data["totalTimeMs"] == data["queueTimeMs"] + data["executionTimeMs"]


def finished(run: Run, now: int, **changes: Any) -> Run:
    """The run when a provider's answer has come."""
    told: dict[str, Any] = {"results": (RunEnd(milliseconds=300),), "waited": 20, "compiling": 500}
    return step(run, RunEnded(lease="lse_000001", provider="0xab", **{**told, **changes}), now)[0]


@pytest.mark.parametrize(
    ("changes", "queue", "execution"),
    [
        ({}, 200, 800),
        ({"compiling": 0}, 700, 300),
        ({"results": (RunEnd(milliseconds=200),) * 2}, 100, 900),
        ({"compiling": 5000}, 0, 1000),
    ],
    ids=["compiled", "not compiled", "two inputs", "more than there was time for"],
)
def test_the_total_is_the_wait_and_the_execution_with_its_compiler(
    http: httpx.Client, world: World, changes: dict[str, Any], queue: int, execution: int
) -> None:
    id = submitted(http)
    run = replace(world.runner.runs[id], inputs=("",) * len(changes.get("results", "1")))
    world.runner.put(finished(run, NOW + 1000, **changes))
    data = http.get(f"{BASE}/{id}/result", headers={"X-API-KEY": KEY}).json()["data"]
    assert (data["queueTimeMs"], data["executionTimeMs"], data["totalTimeMs"]) == (queue, execution, 1000)
    at = [datetime.fromisoformat(data[name]) for name in ("queuedAt", "startedAt", "finishedAt")]
    assert [(later - at[0]) / timedelta(milliseconds=1) for later in at[1:]] == [queue, 1000]
    job = http.get(f"/v1/jobs/{id}", headers={"X-API-KEY": KEY}).json()
    assert (job["queueTimeMs"], job["executionTimeMs"]) == (queue, execution)


def test_a_run_that_was_given_up_has_only_waited(http: httpx.Client, world: World) -> None:
    id = submitted(http)
    world.runner.put(step(world.runner.runs[id], RunCancelled(), NOW + 40)[0])
    data = http.get(f"{BASE}/{id}/result", headers={"X-API-KEY": KEY}).json()["data"]
    assert (data["queueTimeMs"], data["executionTimeMs"], data["totalTimeMs"]) == (40, 0, 40)


def test_every_status_is_one_of_the_documented_four(http: httpx.Client, world: World) -> None:
    id, seen = submitted(http), []

    def look() -> None:
        found = http.get(f"{BASE}/{id}/result", headers={"X-API-KEY": KEY}).json()
        assert found["code"] == 200
        seen.append(found["data"]["status"])

    look()
    world.runner.running.add(id)
    look()
    world.runner.put(ended(world.runner.runs[id]))
    look()
    world.runner.put(ended(world.runner.runs[id], state=RunState.FAILED, error="TLE", message="more than 3 s"))
    look()
    assert seen == ["queued", "running", "success", "failed"]


@pytest.mark.parametrize("error", ERROR_TYPES)
def test_a_failure_has_its_documented_type_and_a_message(http: httpx.Client, world: World, error: str) -> None:
    id = submitted(http)
    end = RunEnd(stderr="Traceback", exit_code=1, milliseconds=10, error=error, message="why")
    changes = {"state": RunState.FAILED, "error": error, "message": "why", "results": (end,)}
    world.runner.put(ended(world.runner.runs[id], **changes))
    found = http.get(f"{BASE}/{id}/result", headers={"X-API-KEY": KEY}).json()
    must_fit(found, RESULT)
    data = found["data"]
    assert (data["status"], data["sandboxErrorType"], data["sandboxErrorMessage"]) == ("failed", error, "why")


def test_the_four_documented_languages_are_those_that_nodes_ship() -> None:
    shipped = tomllib.loads(Path("configs/languages.toml").read_text())["languages"]
    assert {"python", "javascript", "cpp", "java"} <= shipped.keys()


@pytest.mark.parametrize("language", ["python", "javascript", "cpp", "java"])
def test_each_documented_language_is_submitted_by_its_documented_name(
    http: httpx.Client, world: World, language: str
) -> None:
    world.runner.offered = {language: 1}
    body = {"code": "x", "language": language, "input": "1 2"}
    must_fit(http.post(f"{BASE}/submit", headers=HEADERS, json=body).json(), SUBMITTED)
    [run] = world.runner.runs.values()
    assert (run.language, run.inputs) == (language, ("1 2",))


@pytest.mark.parametrize("spelling", ["X-API-KEY", "X-API-Key", "x-api-key"])
def test_the_key_is_known_in_every_spelling_of_its_header(http: httpx.Client, spelling: str) -> None:
    assert http.post(f"{BASE}/submit", headers={spelling: KEY}, json={"code": "1", "language": "python"}).is_success


@pytest.mark.parametrize("headers", [{}, {"X-API-KEY": "nr_live_revoked"}])
def test_no_key_or_a_wrong_one_is_refused(http: httpx.Client, headers: dict[str, str]) -> None:
    for answer in (
        http.post(f"{BASE}/submit", headers={**headers, "Content-Type": "application/json"}, content=CODE),
        http.get(f"{BASE}/{'ab' * 12}/result", headers=headers),
    ):
        assert (answer.status_code, answer.json()["status"]) == (401, 401)


def test_the_run_of_somebody_else_is_not_found(http: httpx.Client) -> None:
    id = submitted(http)
    assert http.get(f"{BASE}/{id}/result", headers={"X-API-KEY": OTHER_KEY}).status_code == 404
    assert http.get(f"{BASE}/{'00' * 12}/result", headers={"X-API-KEY": KEY}).status_code == 404


def test_sixty_submissions_a_minute_and_then_429(http: httpx.Client, limited: Callable[[str], None]) -> None:
    limited("limits.toml")
    statuses = [http.post(f"{BASE}/submit", headers=HEADERS, content=CODE).status_code for _ in range(61)]
    assert statuses == [200] * 60 + [429]


def test_ten_calls_of_authentication_a_minute_and_then_429(http: httpx.Client, limited: Callable[[str], None]) -> None:
    limited("limits.toml")
    body = {"email": "ann@example.org", "password": "wrong"}
    statuses = [http.post("/v1/auth/token", json=body).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]


def test_a_new_account_has_two_hundred_credits(http: httpx.Client) -> None:
    ann = {"email": "ann@example.org", "password": "correct horse"}
    assert http.post("/v1/users", headers={"X-API-Key": ROOT_KEY}, json=ann).status_code == 201
    token = http.post("/v1/auth/token", json=ann).json()["access_token"]
    balance = http.get("/v1/wallet/balance", headers={"Authorization": f"Bearer {token}"}).json()
    assert balance["credits"] == 200


def test_a_new_key_revokes_the_one_before_when_it_is_to_be_the_only_one(http: httpx.Client) -> None:
    made = http.post("/v1/keys", headers={"X-API-KEY": KEY}, json={"name": "new", "rotate": True})
    assert made.status_code == 201
    assert http.get("/v1/keys", headers={"X-API-KEY": KEY}).status_code == 401
    [only] = http.get("/v1/keys", headers={"X-API-KEY": made.json()["key"]}).json()["keys"]
    assert only["id"] == made.json()["id"]


def test_an_account_may_have_one_active_key_at_a_time(http: httpx.Client) -> None:
    changed = http.put("/v1/users/user_alice", headers={"X-API-KEY": KEY}, json={"has_single_key": True})
    assert changed.json()["has_single_key"] is True
    made = http.post("/v1/keys", headers={"X-API-KEY": KEY}, json={"name": "new"}).json()
    assert http.get("/v1/keys", headers={"X-API-KEY": KEY}).status_code == 401
    assert len(http.get("/v1/keys", headers={"X-API-KEY": made["key"]}).json()["keys"]) == 1


@pytest.mark.parametrize("language", ["python", "javascript", "cpp", "java"])
def test_a_documented_language_that_no_provider_offers_is_a_503(
    http: httpx.Client, world: World, language: str
) -> None:
    world.runner.offered = {}
    answer = http.post(f"{BASE}/submit", headers=HEADERS, json={"code": "x", "language": language, "input": ""})
    assert (answer.status_code, answer.json()["status"]) == (503, 503)
    assert int(answer.headers["Retry-After"]) > 0


class _Answering(FakeRunner):
    """Each run is queued when it is first asked for, running then, and done at the third time."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def wait(self, account: Any, id: str, seconds: float) -> Run:
        self.asked += 1
        if self.asked == 2:
            self.running.add(id)
        if self.asked == 3:
            self.put(ended(self.runs[id]))
        return await super().wait(account, id, seconds)


def test_the_complete_example_runs_as_it_stands(world: World, url: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    runner = _Answering()
    world.runner.submit, world.runner.wait = runner.submit, runner.wait  # type: ignore[method-assign]
    world.runner.is_running = runner.is_running  # type: ignore[method-assign]
    code = example().replace("https://api.neuron-labs.xyz", url).replace("nr_live_...", KEY)
    assert (code.count(url), code.count(KEY)) == (2, 2)
    command = [node, "--input-type=module", "--eval", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Output: Hello\n\n", "")
    assert runner.asked == 3
    [run] = runner.runs.values()
    assert (run.code, run.language, run.inputs) == ('print("Hello")', "python", ("",))


def example() -> str:
    """The program between the headings, of the page where it is there."""
    if not PAGE.is_file():
        return EXAMPLE
    return PAGE.read_text().partition("Complete Example\n")[2].partition("Best Practices")[0]

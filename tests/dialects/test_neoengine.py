"""The contract of the NeoEngine page: jobs with a price, providers, market and wallet, in camelCase."""

from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest
from msgspec.structs import replace

from market.jobs import JobState
from node.ports import LogLine
from tests.builders import NOW, PROVIDER, REQUESTER
from tests.dialects.shapes import Always, must_fit
from tests.node.api.fakes import ALICE, KEY, OTHER_KEY, ROOT_KEY, World, a_done_job, a_job

HEADERS: Final = {"Authorization": f"Bearer {KEY}"}
OPERATOR: Final = {"Authorization": f"Bearer {ROOT_KEY}"}
REQUEST: Final[dict[str, Any]] = {
    "image": "python:3.11-slim",
    "command": ["python", "-c", "print('Hello')"],
    "resources": {"cpu": 2, "memory": "4Gi", "gpu": 0},
    "maxPrice": "1.0",
    "timeout": "1h",
}
SUBMITTED: Final = {"id": "job_abc123", "status": Always("pending"), "createdAt": "2026-01-15T12:00:00Z"}
SHOWN: Final = {
    "id": "job_abc123",
    "status": Always("running"),
    "provider": "prov_xyz789",
    "startedAt": "2026-01-15T12:01:00Z",
    "progress": 45,
}
RANGE: Final = {"min": 0.01, "avg": 0.025, "max": 0.05}
PRICES: Final = {"cpu": RANGE, "memory": RANGE, "gpu": {"nvidia-a100": RANGE}}


def nested(code: str) -> dict[str, Any]:
    """The page's envelope of errors."""
    return {"error": {"code": Always(code), "message": "cpu must be at least 1", "details": {}}}


def a_running_job(world: World, **changes: Any) -> str:
    state = {"state": JobState.RUNNING, "lease": "lea_1", "provider": PROVIDER, "started_at": NOW + 1000}
    return world.jobs.put(a_job(**{**state, **changes})).id


def test_the_printed_request_submits_a_job(http: httpx.Client, world: World) -> None:
    answer = http.post("/v1/jobs", headers=HEADERS, json=REQUEST)
    assert answer.status_code == 201
    must_fit(answer.json(), SUBMITTED)
    [new] = world.jobs.submitted
    workload, resources = new.workload, new.workload.resources
    assert (workload.image, workload.command, workload.timeout) == (REQUEST["image"], tuple(REQUEST["command"]), 3600)
    assert (resources.cpu, resources.memory, resources.gpus, new.cap) == (2000, 4 * 2**30, 0, 1_000_000)


def test_a_job_shows_provider_start_and_progress(http: httpx.Client, world: World) -> None:
    answer = http.get(f"/v1/jobs/{a_running_job(world)}", headers=HEADERS)
    assert answer.status_code == 200
    must_fit(answer.json(), SHOWN)
    assert 0 <= answer.json()["progress"] <= 100


def test_logs_results_and_cancellation_are_where_the_page_has_them(http: httpx.Client, world: World) -> None:
    world.jobs.lines.append(LogLine(at=NOW, stream="stdout", text="Hello"))
    id = a_running_job(world)
    logs = http.get(f"/v1/jobs/{id}/logs", headers=HEADERS).json()
    assert [line["message"] for line in logs["logs"]] == ["Hello"]
    done = world.jobs.put(a_done_job(id="job_0000000000000002"))
    results = http.get(f"/v1/jobs/{done.id}/results", headers=HEADERS).json()
    must_fit(results, {"id": Always(done.id), "status": Always("success"), "exitCode": Always(0), "files": []})
    cancelled = http.post(f"/v1/jobs/{id}/cancel", headers=HEADERS)
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")


def test_jobs_are_listed_by_status_up_to_a_limit(http: httpx.Client, world: World) -> None:
    for number in range(21):
        a_running_job(world, id=f"job_{number:016d}")
    world.jobs.put(a_done_job(id="job_1000000000000000"))
    found = http.get("/v1/jobs?status=running&limit=20", headers=HEADERS).json()
    must_fit(found, {"jobs": [SHOWN]})
    assert len(found["jobs"]) == 20
    assert len(http.get("/v1/jobs?status=success", headers=HEADERS).json()["jobs"]) == 1


def test_providers_are_filtered_by_gpu_and_reputation(http: httpx.Client) -> None:
    found = http.get("/v1/providers?gpu=true&minReputation=500", headers=HEADERS).json()
    must_fit(found, {"providers": [{"id": f"prov_{REQUESTER[2:]}", "gpu": Always(True), "reputation": Always(900)}]})
    [provider] = found["providers"]
    shown = http.get(f"/v1/providers/{provider['id']}", headers=HEADERS)
    assert (shown.status_code, shown.json()["id"]) == (200, provider["id"])
    assert http.get("/v1/providers?gpu=true&minReputation=950", headers=HEADERS).json()["providers"] == []


def test_prices_are_numbers_and_each_model_of_gpu_has_its_own(http: httpx.Client) -> None:
    must_fit(http.get("/v1/market/prices", headers=HEADERS).json(), PRICES)


def test_the_network_has_statistics(http: httpx.Client) -> None:
    must_fit(http.get("/v1/market/stats", headers=HEADERS).json(), {"providers": 2, "offers": 2})


def test_balance_and_earnings_are_decimal_strings(http: httpx.Client) -> None:
    must_fit(http.get("/v1/wallet/balance", headers=OPERATOR).json(), {"balance": Always("12.5"), "currency": "TUSD"})
    must_fit(http.get("/v1/wallet/earnings", headers=OPERATOR).json(), {"total": Always("5.3"), "currency": "TUSD"})


@pytest.mark.parametrize("body", [{}, {"amount": "5.0"}])
def test_a_withdrawal_is_of_everything_or_of_an_amount(http: httpx.Client, body: dict[str, str]) -> None:
    answer = http.post("/v1/wallet/withdraw", headers=OPERATOR, json=body)
    assert answer.status_code == 201, answer.text
    must_fit(answer.json(), {"id": "wdr_1", "amount": Always("5.0"), "currency": "TUSD"})


def test_a_user_withdraws_to_his_wallet(http: httpx.Client, world: World) -> None:
    world.storage.put(replace(ALICE, wallet=REQUESTER))
    world.people.callers.forget(ALICE.id)
    answer = http.post("/v1/wallet/withdraw", headers=HEADERS, json={"amount": "2.5"})
    assert (answer.status_code, answer.json()["to"]) == (201, REQUESTER)


def test_the_printed_error_names_field_and_value(http: httpx.Client) -> None:
    bad = {**REQUEST, "resources": {"cpu": 0, "memory": "4Gi", "gpu": 0}}
    answer = http.post("/v1/jobs", headers=HEADERS, json=bad)
    assert answer.status_code == 400
    must_fit(answer.json(), nested("INVALID_PARAMETERS"))
    must_fit(answer.json()["error"]["details"], {"field": Always("resources.cpu"), "value": Always(0)})


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer none"}, {"Authorization": f"Basic {KEY}"}])
def test_an_invalid_or_missing_token(http: httpx.Client, headers: dict[str, str]) -> None:
    for path in ("/v1/jobs", "/v1/providers", "/v1/market/prices", "/v1/market/stats", "/v1/wallet/balance"):
        answer = http.get(path, headers=headers)
        assert answer.status_code == 401
        must_fit(answer.json(), nested("UNAUTHORIZED"))


def test_too_little_permission(http: httpx.Client) -> None:
    body = {"name": "reader", "scopes": ["read"]}
    key = http.post("/v1/keys", headers=HEADERS, json=body).json()["key"]
    answer = http.post("/v1/jobs", headers={"Authorization": f"Bearer {key}"}, json=REQUEST)
    assert answer.status_code == 403
    must_fit(answer.json(), nested("FORBIDDEN"))


def test_what_is_not_there_or_is_somebody_elses(http: httpx.Client, world: World) -> None:
    id, other = a_running_job(world), {"Authorization": f"Bearer {OTHER_KEY}"}
    for path, headers in ((f"/v1/jobs/{id}", other), ("/v1/jobs/none/logs", HEADERS), ("/v1/providers/x", HEADERS)):
        answer = http.get(path, headers=headers)
        assert answer.status_code == 404
        must_fit(answer.json(), nested("NOT_FOUND"))


def test_a_server_that_fails(http: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(world.jobs, "get", fail)
    answer = http.get("/v1/jobs/x", headers=HEADERS)
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    must_fit(answer.json(), nested("INTERNAL_ERROR"))


def test_the_tiers_of_the_page_are_a_file_of_limits(
    http: httpx.Client, world: World, limited: Callable[[str], None]
) -> None:
    limited("limits.neoengine.toml")
    statuses = [http.get("/v1/market/stats", headers=HEADERS).status_code for _ in range(61)]
    assert statuses == [200] * 60 + [429]
    must_fit(http.get("/v1/market/stats", headers=HEADERS).json(), nested("RATE_LIMITED"))
    world.storage.put(replace(ALICE, tier="pro"))
    world.people.callers.forget(ALICE.id)
    world.clock.time += 60_000
    assert http.get("/v1/market/stats", headers=HEADERS).headers["x-ratelimit-limit"] == "300"


def test_a_withdrawal_needs_no_body(http: httpx.Client) -> None:
    assert http.post("/v1/wallet/withdraw", headers=OPERATOR).status_code == 201

"""The contract of the NeoEngine page: priced jobs, providers, the market and the wallet, bare and in camelCase."""

from typing import Any, Final

import httpx
import pytest

from market.units import Timestamp
from node.records import ApiKey
from tests.builders import NOW, PROVIDER
from tests.dialects.shapes import Always, must_fit
from tests.node.api.fakes import KEY, ROOT_KEY, World, a_done_job, a_job

BEARER: Final = {"Authorization": f"Bearer {KEY}"}
OPERATOR: Final = {"Authorization": f"Bearer {ROOT_KEY}"}
REQUEST: Final[dict[str, Any]] = {
    "image": "python:3.11-slim",
    "command": ["python", "-c", "print('Hello')"],
    "resources": {"cpu": 2, "memory": "4Gi", "gpu": 0},
    "maxPrice": "1.0",
    "timeout": "1h",
}
CREATED: Final = {"id": "job_abc123", "status": Always("pending"), "createdAt": "2026-01-15T12:00:00Z"}
SHOWN: Final = {
    "id": "job_abc123",
    "status": Always("success"),
    "provider": "prov_xyz789",
    "startedAt": "2026-01-15T12:01:00Z",
    "progress": 45,
}
RANGE: Final = {"min": 0.01, "avg": 0.025, "max": 0.05}


def test_the_printed_request_makes_the_printed_answer(http: httpx.Client, world: World) -> None:
    answer = http.post("/v1/jobs", headers=BEARER, json=REQUEST)
    assert answer.status_code == 201
    must_fit(answer.json(), CREATED)
    [new] = world.jobs.submitted
    assert (new.workload.resources.cpu, new.workload.resources.memory, new.workload.timeout) == (2000, 4 * 2**30, 3600)
    assert new.cap == 1_000_000


def test_a_job_is_shown_with_provider_start_and_progress(http: httpx.Client, world: World) -> None:
    job = world.jobs.put(a_done_job())
    must_fit(http.get(f"/v1/jobs/{job.id}", headers=BEARER).json(), SHOWN)
    assert http.get(f"/v1/jobs/{job.id}/logs", headers=BEARER).status_code == 200
    assert http.get(f"/v1/jobs/{job.id}/results", headers=BEARER).status_code == 200


def test_a_job_is_cancelled(http: httpx.Client, world: World) -> None:
    job = world.jobs.put(a_job())
    answer = http.post(f"/v1/jobs/{job.id}/cancel", headers=BEARER)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_jobs_are_filtered_by_status_and_cut_at_a_limit(http: httpx.Client, world: World) -> None:
    world.jobs.put(a_done_job())
    world.jobs.put(a_job(id="job_0000000000000002"))
    found = http.get("/v1/jobs?status=success&limit=20", headers=BEARER).json()["jobs"]
    assert [job["status"] for job in found] == ["success"]
    assert len(http.get("/v1/jobs?limit=1", headers=BEARER).json()["jobs"]) == 1


def test_providers_are_filtered_by_gpu_and_reputation(http: httpx.Client) -> None:
    found = http.get("/v1/providers?gpu=true&minReputation=500", headers=BEARER).json()["providers"]
    assert [(provider["gpu"], provider["reputation"]) for provider in found] == [(True, 900)]
    one = http.get(f"/v1/providers/prov_{PROVIDER[2:]}", headers=BEARER).json()
    must_fit(one, {"id": "prov_xyz789", "reputation": 500})


def test_prices_are_ranges_of_numbers(http: httpx.Client) -> None:
    prices = http.get("/v1/market/prices", headers=BEARER).json()
    must_fit(prices, {"cpu": RANGE, "memory": RANGE, "gpu": {"nvidia-a100": RANGE}})
    assert http.get("/v1/market/stats", headers=BEARER).status_code == 200


def test_the_wallet_has_a_balance_earnings_and_a_way_out(http: httpx.Client) -> None:
    must_fit(http.get("/v1/wallet/balance", headers=BEARER).json(), {"balance": "1.0", "currency": "TUSD"})
    must_fit(http.get("/v1/wallet/earnings", headers=BEARER).json(), {"total": "1.0", "currency": "TUSD"})
    paid = http.post("/v1/wallet/withdraw", headers=OPERATOR, json={})
    assert (paid.status_code, paid.json()["status"]) == (201, "confirmed")


def test_a_bad_parameter_is_told_in_the_printed_envelope(http: httpx.Client) -> None:
    resources = {**REQUEST["resources"], "cpu": 0}
    answer = http.post("/v1/jobs", headers=BEARER, json={**REQUEST, "resources": resources})
    assert answer.status_code == 400
    details = {"field": Always("resources.cpu"), "value": Always(0)}
    must_fit(
        answer.json(), {"error": {"code": Always("INVALID_PARAMETERS"), "message": "cpu must be", "details": details}}
    )


@pytest.mark.parametrize(
    ("status", "headers", "path"),
    [(401, {}, "/v1/jobs"), (401, {"Authorization": "Bearer x"}, "/v1/jobs"), (404, BEARER, "/v1/jobs/job_none")],
)
def test_other_refusals_have_the_same_envelope(
    http: httpx.Client, status: int, headers: dict[str, str], path: str
) -> None:
    answer = http.get(path, headers=headers)
    assert answer.status_code == status
    must_fit(answer.json(), {"error": {"code": "NOT_FOUND", "message": "no"}})


def test_a_token_may_expire(http: httpx.Client, world: World) -> None:
    key = world.storage.find(ApiKey, account="user_alice")[0]
    world.storage.put(
        ApiKey(
            id=key.id,
            account=key.account,
            name=key.name,
            digest=key.digest,
            created_at=NOW,
            expires_at=Timestamp(NOW - 1),
        )
    )
    assert http.get("/v1/jobs", headers=BEARER).status_code == 401

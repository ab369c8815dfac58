"""The contract of the NeuAIs page: agents, users, billing, in snake_case, with codes of errors in lower case."""

import json
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest
from msgspec.structs import replace

from market.errors import Unavailable
from market.ledger import Transfer, between, paid_account, user_account
from node.actions.ledger import post
from tests.builders import NOW
from tests.dialects.conftest import Do
from tests.dialects.shapes import Always, must_fit
from tests.node.api.fakes import ALICE, KEY, ROOT_KEY, World, pods_run, pods_say

HEADERS: Final = {"Authorization": f"Bearer {KEY}"}
OPERATOR: Final = {"Authorization": f"Bearer {ROOT_KEY}"}
PROGRAM: Final = "https://storage.example/my-agent"
"""Of the page's request only the program's address is another: that one can be fetched here."""
REQUEST: Final[dict[str, Any]] = {
    "name": "my-agent",
    "runtime": "rust",
    "binary_url": PROGRAM,
    "config": {"cpu": "1.0", "memory": "1Gi", "replicas": 3},
    "environment": {"LOG_LEVEL": "info"},
}
TIME: Final = "2024-01-15T10:00:00Z"
CREATED: Final = {"id": "agt_1a2b3c4d", "name": Always("my-agent"), "status": Always("deploying"), "created_at": TIME}
LISTED: Final[dict[str, Any]] = {
    "id": "agt_1a2b3c4d",
    "name": "my-agent",
    "status": "running",
    "replicas": 3,
    "region": "us-west-2",
    "created_at": TIME,
    "updated_at": TIME,
}
SHOWN: Final = {**LISTED, "config": {"cpu": Always("1.0"), "memory": Always("1Gi")}, "endpoints": []}
USER: Final = {"email": "user@example.com", "password": "secure-password", "role": "developer"}
USER_SHOWN: Final = {"id": "user_1", "email": Always(USER["email"]), "role": Always("developer"), "created_at": TIME}
USAGE: Final[dict[str, Any]] = {
    "period": "2024-01",
    "usage": {"compute_hours": 1000, "storage_gb": 500, "network_gb": 100},
    "cost": {"compute": 50.00, "storage": 10.00, "network": 5.00, "total": 65.00},
}
INVOICE: Final = {"id": "inv_1a2b3c", "period": "2024-01", "amount": 65.00, "status": Always("paid"), "due_date": "x"}


def lower(code: str) -> dict[str, Any]:
    """The page's envelope of errors."""
    return {"error": {"code": Always(code), "message": "Invalid agent configuration", "details": {}}}


def created(http: httpx.Client, **changes: Any) -> str:
    answer = http.post("/v1/agents", headers=HEADERS, json={**REQUEST, **changes})
    assert answer.status_code == 201, answer.text
    must_fit(answer.json(), CREATED | {"name": "x"})
    id: str = answer.json()["id"]
    return id


@pytest.fixture
def running(http: httpx.Client, world: World, do: Do) -> str:
    """An agent that runs."""
    id = created(http)
    do(pods_run(world, id))
    return id


def agents(http: httpx.Client, query: str = "") -> Any:
    answer = http.get(f"/v1/agents{query}", headers=HEADERS)
    assert answer.status_code == 200
    return answer.json()


def test_email_and_password_become_a_token_that_is_used_as_bearer(http: httpx.Client) -> None:
    http.post("/v1/users", headers=OPERATOR, json=USER)
    answer = http.post("/v1/auth/token", json={"email": USER["email"], "password": USER["password"]})
    assert answer.status_code == 200
    must_fit(answer.json(), {"access_token": "eyJ", "token_type": Always("Bearer"), "expires_in": Always(3600)})
    token = answer.json()["access_token"]
    assert (token[:2], token.count(".")) == ("ey", 2)
    assert http.get("/v1/agents", headers={"Authorization": f"Bearer {token}"}).json()["agents"] == []


def test_the_printed_request_makes_the_printed_answer(http: httpx.Client) -> None:
    answer = http.post("/v1/agents", headers=HEADERS, json=REQUEST)
    assert answer.status_code == 201
    must_fit(answer.json(), CREATED)


def test_an_agent_is_shown_and_listed(http: httpx.Client, world: World, do: Do) -> None:
    running = created(http)
    do(pods_run(world, running, region="us-west-2"))
    assert [agent["region"] for agent in agents(http, "?region=us-west-2")["agents"]] == ["us-west-2"]
    assert agents(http, "?region=eu")["agents"] == []
    must_fit(http.get(f"/v1/agents/{running}", headers=HEADERS).json(), SHOWN)
    must_fit(agents(http), {"agents": [LISTED], "total": Always(1), "limit": Always(100), "offset": Always(0)})


def test_pages_say_whether_more_follows(http: httpx.Client) -> None:
    ids = {created(http, name=f"n{number}") for number in range(3)}
    first, last = agents(http, "?limit=2&offset=0"), agents(http, "?limit=2&offset=2")
    for page, offset, has_more in ((first, 0, True), (last, 2, False)):
        place = {"limit": Always(2), "offset": Always(offset), "has_more": Always(has_more), "total": Always(3)}
        must_fit(page, {"agents": [LISTED], **place})
    assert {agent["id"] for agent in first["agents"] + last["agents"]} == ids


def test_lists_are_filtered_sorted_and_cut_to_fields(http: httpx.Client, world: World, do: Do, running: str) -> None:
    world.clock.time += 1000
    other = created(http, name="other")
    do(pods_run(world, other, state="placed", region="us-west-2"))
    assert [agent["id"] for agent in agents(http, "?status=running")["agents"]] == [running]
    assert agents(http, "?status=running&region=us-west-2")["agents"] == []
    assert [agent["id"] for agent in agents(http, "?region=us-west-2")["agents"]] == [other]
    assert [agent["id"] for agent in agents(http, "?sort=created_at:desc")["agents"]] == [other, running]
    assert [agent["id"] for agent in agents(http, "?sort=created_at:asc")["agents"]] == [running, other]
    assert {tuple(agent) for agent in agents(http, "?fields=id,name,status")["agents"]} == {("id", "name", "status")}
    for status in ("stopped", "error"):
        assert agents(http, f"?status={status}")["agents"] == []


def test_the_printed_update_is_partial(http: httpx.Client, running: str) -> None:
    body = {"binary_url": PROGRAM, "config": {"replicas": 5}}
    answer = http.put(f"/v1/agents/{running}", headers=HEADERS, json=body)
    assert (answer.status_code, answer.json()["replicas"], answer.json()["config"]["memory"]) == (200, 5, "1Gi")


def test_agents_are_stopped_started_restarted_and_scaled(http: httpx.Client, running: str) -> None:
    for path, status in (("restart", "running"), ("stop", "stopping"), ("start", "deploying")):
        answer = http.post(f"/v1/agents/{running}/{path}", headers=HEADERS)
        assert (answer.status_code, answer.json()["status"]) == (200, status), path
    answer = http.post(f"/v1/agents/{running}/scale", headers=HEADERS, json={"replicas": 5})
    assert (answer.status_code, answer.json()["replicas"]) == (200, 5)


def test_an_agent_is_deleted(http: httpx.Client, running: str) -> None:
    answer = http.delete(f"/v1/agents/{running}", headers=HEADERS)
    assert answer.status_code == 200
    must_fit(answer.json(), {"message": Always("Agent deleted successfully")})
    assert http.get(f"/v1/agents/{running}", headers=HEADERS).status_code == 404


def test_logs_by_number_time_and_level(http: httpx.Client, world: World, do: Do) -> None:
    id = created(http, config={"replicas": 1})
    do(pods_run(world, id))
    do(pods_say(world, id, *(f"INFO {number}" for number in range(119)), "ERROR bad"))
    path = f"/v1/agents/{id}/logs"
    logs = http.get(path, headers=HEADERS).json()
    must_fit(logs, {"logs": [{"timestamp": TIME, "level": "info", "message": "Agent started"}]})
    assert len(logs["logs"]) == 100
    assert http.get(f"{path}?tail=2", headers=HEADERS).json()["logs"] == logs["logs"][-2:]
    assert [line["message"] for line in http.get(f"{path}?level=error", headers=HEADERS).json()["logs"]] == [
        "ERROR bad"
    ]
    world.clock.time += 3_600_000
    since = {
        since: http.get(f"{path}?since={since}&tail=200", headers=HEADERS).json()["logs"] for since in ("1h", "30m")
    }
    assert (len(since["1h"]), since["30m"]) == (120, [])


def test_followed_logs_are_server_sent_events(http: httpx.Client, world: World, do: Do) -> None:
    id = created(http, config={"replicas": 1})
    do(pods_run(world, id))
    do(pods_say(world, id, "Agent started"))
    with http.stream("GET", f"/v1/agents/{id}/logs?follow=true", headers=HEADERS) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        data = next(line for line in stream.iter_lines() if line.startswith("data:"))
    must_fit(json.loads(data[5:]), {"timestamp": TIME, "level": "info", "message": Always("Agent started")})


@pytest.mark.parametrize("period", ["1h", "24h", "7d"])
def test_metrics_are_points_of_time_and_value(http: httpx.Client, running: str, period: str) -> None:
    points = [{"timestamp": TIME, "value": 45.2}]
    found = http.get(f"/v1/agents/{running}/metrics?period={period}", headers=HEADERS).json()
    must_fit(found, {"metrics": {"cpu": points, "memory": points, "network": points}})


@pytest.mark.parametrize("metric", ["cpu", "memory", "network"])
def test_one_metric_is_asked_for_by_name(http: httpx.Client, world: World, running: str, metric: str) -> None:
    assert http.get(f"/v1/agents/{running}/metrics?metric={metric}", headers=HEADERS).status_code == 200
    assert world.series.asked[-1][1:] == ("1h", metric)


def test_users_are_made_seen_changed_and_deleted(http: httpx.Client) -> None:
    made = http.post("/v1/users", headers=OPERATOR, json=USER)
    assert made.status_code == 201
    must_fit(made.json(), USER_SHOWN)
    path = f"/v1/users/{made.json()['id']}"
    must_fit(http.get(path, headers=OPERATOR).json(), USER_SHOWN)
    listed = http.get("/v1/users", headers=OPERATOR).json()
    must_fit(listed, {"users": [{"id": "user_1", "role": "developer"}], "total": Always(4), "has_more": Always(False)})
    changed = http.put(path, headers=OPERATOR, json={"email": "other@example.com"})
    assert (changed.status_code, changed.json()["email"], changed.json()["role"]) == (
        200,
        "other@example.com",
        "developer",
    )
    assert http.delete(path, headers=OPERATOR).status_code == 200
    assert http.get(path, headers=OPERATOR).status_code == 404


def test_usage_and_invoices(http: httpx.Client, world: World, do: Do) -> None:
    moved = between(user_account(ALICE.id), paid_account(ALICE.id), 2_500_000)
    post(world.storage, Transfer(id="job_1:5", kind="job", subject="job_1", postings=moved), NOW, 7200, 730 * 3600)
    usage = http.get("/v1/billing/usage?period=current", headers=HEADERS).json()
    must_fit(usage, USAGE)
    cost = usage["cost"]
    assert cost["total"] == cost["compute"] + cost["storage"] + cost["network"] == 2.5
    world.clock.time += 31 * 86_400_000
    do(world.services.billing.close_months())
    must_fit(http.get("/v1/billing/invoices", headers=HEADERS).json(), {"invoices": [INVOICE]})
    assert http.get("/v1/billing/usage?period=last_month", headers=HEADERS).json()["cost"] == cost


def test_the_printed_error_names_field_and_reason(http: httpx.Client, running: str) -> None:
    answer = http.post(f"/v1/agents/{running}/scale", headers=HEADERS, json={"replicas": 0})
    assert answer.status_code == 400
    must_fit(answer.json(), lower("invalid_request"))
    must_fit(answer.json()["error"]["details"], {"field": Always("replicas"), "reason": "must be greater than 0"})


def test_missing_or_invalid_authentication(http: httpx.Client) -> None:
    for path in ("/v1/agents", "/v1/users", "/v1/billing/usage", "/v1/billing/invoices"):
        for headers in ({}, {"Authorization": "Bearer eyJhbGciOiJIUzI1NiIs.e.e"}):
            answer = http.get(path, headers=headers)
            assert answer.status_code == 401
            must_fit(answer.json(), lower("unauthorized"))
    must_fit(http.post("/v1/auth/token", json={"email": "a@b.c", "password": "x"}).json(), lower("unauthorized"))


def test_forbidden_missing_and_conflicting(http: httpx.Client) -> None:
    forbidden = http.get("/v1/users", headers=HEADERS)
    missing = http.get("/v1/agents/agt_none", headers=HEADERS)
    http.post("/v1/users", headers=OPERATOR, json=USER)
    conflict = http.post("/v1/users", headers=OPERATOR, json=USER)
    assert [answer.status_code for answer in (forbidden, missing, conflict)] == [403, 404, 409]
    for answer, code in ((forbidden, "forbidden"), (missing, "not_found"), (conflict, "conflict")):
        must_fit(answer.json(), lower(code))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(RuntimeError("secret"), 500, "internal_error"), (Unavailable("no chain"), 503, "service_unavailable")],
)
def test_failures_of_the_server(
    http: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(world.hosting, "list", fail)
    answer = http.get("/v1/agents", headers=HEADERS)
    assert answer.status_code == status
    must_fit(answer.json(), lower(code))


def test_limits_are_told_in_headers_for_each_tier(
    http: httpx.Client, world: World, limited: Callable[[str], None]
) -> None:
    limited("limits.toml")
    for tier, limit in (("free", 100), ("pro", 1000)):
        world.storage.put(replace(ALICE, tier=tier))
        world.people.callers.forget(ALICE.id)
        world.clock.time += 60_000
        headers = http.get("/v1/agents", headers=HEADERS).headers
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == (str(limit), str(limit - 1))
        assert int(headers["X-RateLimit-Reset"]) == world.clock.time // 1000 + 60


def test_too_many_requests(http: httpx.Client, world: World, limited: Callable[[str], None]) -> None:
    limited("limits.toml")
    answers = [http.get("/v1/agents/none", headers=HEADERS) for _ in range(101)]
    assert [answer.status_code for answer in answers] == [404] * 100 + [429]
    must_fit(answers[-1].json(), lower("rate_limit_exceeded"))
    assert answers[-1].headers["X-RateLimit-Remaining"] == "0"


SERVICE: Final = {"name": "auth", "status": Always("healthy"), "version": "1.0.0", "uptime": "5d 12h 30m"}
WEBHOOK: Final = {
    "url": "https://hooks.example/webhook",
    "events": ["agent.created", "agent.stopped"],
    "secret": "your-webhook-secret",
}


def test_the_services_of_the_platform_are_listed(http: httpx.Client) -> None:
    must_fit(http.get("/v1/services", headers=OPERATOR).json(), {"services": [{**SERVICE, "status": "healthy"}]})
    must_fit(http.get("/v1/services/api/status", headers=OPERATOR).json(), {**SERVICE, "name": Always("api")})


def test_a_webhook_is_made_as_printed(http: httpx.Client) -> None:
    answer = http.post("/v1/webhooks", headers=HEADERS, json=WEBHOOK)
    assert (answer.status_code, answer.json()["events"]) == (201, WEBHOOK["events"])

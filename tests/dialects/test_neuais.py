"""The contract of the NeuAIs page: tokens, agents, services, users, billing and webhooks, in snake_case."""

from typing import Any, Final

import httpx
import pytest

from tests.dialects.conftest import Do
from tests.dialects.shapes import Always, must_fit
from tests.node.api.fakes import KEY, ROOT_KEY, World, pods_run, pods_say

BEARER: Final = {"Authorization": f"Bearer {KEY}"}
OPERATOR: Final = {"Authorization": f"Bearer {ROOT_KEY}"}
TIME: Final = "2024-01-15T10:00:00Z"
USER: Final = {"email": "user@example.com", "password": "secure-password", "role": "developer"}
REQUEST: Final[dict[str, Any]] = {
    "name": "my-agent",
    "runtime": "rust",
    "binary_url": "https://storage.example/my-agent",
    "config": {"cpu": "1.0", "memory": "1Gi", "replicas": 3},
    "environment": {"LOG_LEVEL": "info"},
}
"""As it is printed; of the address the host is one of these tests."""
LISTED: Final[dict[str, Any]] = {
    "id": "agt_1a2b3c4d",
    "name": Always("my-agent"),
    "status": "running",
    "replicas": Always(3),
    "region": "us-west-2",
    "created_at": TIME,
    "updated_at": TIME,
}


@pytest.fixture
def agent(http: httpx.Client) -> str:
    """The printed agent."""
    answer = http.post("/v1/agents", headers=BEARER, json=REQUEST)
    assert answer.status_code == 201, answer.text
    must_fit(
        answer.json(),
        {"id": "agt_1a2b3c4d", "name": Always("my-agent"), "status": Always("deploying"), "created_at": TIME},
    )
    id: str = answer.json()["id"]
    return id


def test_email_and_password_are_a_token_for_an_hour(http: httpx.Client) -> None:
    assert http.post("/v1/users", headers=OPERATOR, json=USER).status_code == 201
    login = {"email": USER["email"], "password": USER["password"]}
    answer = http.post("/v1/auth/token", json=login)
    must_fit(answer.json(), {"access_token": "ey", "token_type": Always("Bearer"), "expires_in": Always(3600)})
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert http.get("/v1/agents", headers=bearer).json()["agents"] == []


def test_agents_are_listed_shown_and_filtered(http: httpx.Client, world: World, do: Do, agent: str) -> None:
    do(pods_run(world, agent))
    listed = http.get("/v1/agents?limit=50&offset=0", headers=BEARER).json()
    must_fit(
        listed,
        {"agents": [LISTED], "total": Always(1), "limit": Always(50), "offset": Always(0), "has_more": Always(False)},
    )
    shown = http.get(f"/v1/agents/{agent}", headers=BEARER).json()
    config = {"cpu": Always("1.0"), "memory": Always("1Gi")}
    must_fit(shown, {**LISTED, "config": config, "endpoints": []})
    assert http.get("/v1/agents", headers=BEARER).json()["limit"] == 100
    assert http.get("/v1/agents?status=stopped", headers=BEARER).json()["agents"] == []
    assert http.get("/v1/agents?status=running&region=us-west-2", headers=BEARER).json()["agents"] == []
    assert http.get("/v1/agents?sort=created_at:desc", headers=BEARER).status_code == 200
    [picked] = http.get("/v1/agents?fields=id,name,status", headers=BEARER).json()["agents"]
    assert picked == {"id": agent, "name": "my-agent", "status": "running"}


def test_an_agent_is_updated_in_part(http: httpx.Client, agent: str) -> None:
    change = {"binary_url": "https://storage.example/my-agent", "config": {"replicas": 5}}
    answer = http.put(f"/v1/agents/{agent}", headers=BEARER, json=change)
    assert (answer.status_code, answer.json()["replicas"], answer.json()["name"]) == (200, 5, "my-agent")


def test_an_agent_is_stopped_started_restarted_scaled_and_deleted(http: httpx.Client, agent: str) -> None:
    for verb in ("stop", "start", "restart"):
        assert http.post(f"/v1/agents/{agent}/{verb}", headers=BEARER).status_code == 200
    assert http.post(f"/v1/agents/{agent}/scale", headers=BEARER, json={"replicas": 5}).json()["replicas"] == 5
    gone = http.delete(f"/v1/agents/{agent}", headers=BEARER)
    must_fit(gone.json(), {"message": Always("Agent deleted successfully")})
    assert http.get(f"/v1/agents/{agent}", headers=BEARER).status_code == 404


def test_logs_have_a_level_and_follow_as_events(http: httpx.Client, world: World, do: Do, agent: str) -> None:
    do(pods_run(world, agent))
    do(pods_say(world, agent, "Agent started", "ERROR it broke"))
    logs = http.get(f"/v1/agents/{agent}/logs?tail=100&since=1h", headers=BEARER).json()
    assert http.get(f"/v1/agents/{agent}/logs?level=error", headers=BEARER).status_code == 200
    must_fit(logs, {"logs": []})
    for line in http.get(f"/v1/agents/{agent}/logs", headers=BEARER).json()["logs"]:
        must_fit(line, {"timestamp": TIME, "level": "info", "message": "Agent started"})
    with http.stream("GET", f"/v1/agents/{agent}/logs?follow=true", headers=BEARER) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")


def test_metrics_are_points_in_time(http: httpx.Client, world: World, do: Do, agent: str) -> None:
    do(pods_run(world, agent))
    found = http.get(f"/v1/agents/{agent}/metrics?period=1h", headers=BEARER).json()
    point = {"timestamp": TIME, "value": 45.2}
    must_fit(found, {"metrics": {"cpu": [point], "memory": [point]}})


def test_services_have_a_status_and_an_uptime(http: httpx.Client) -> None:
    found = http.get("/v1/services", headers=BEARER).json()
    service = {"name": "auth", "status": "healthy", "version": "1.0.0", "uptime": "5d 12h 30m"}
    must_fit(found, {"services": [service]})
    assert http.get("/v1/services/api/status", headers=BEARER).json()["status"] == "healthy"


def test_users_are_made_listed_changed_and_deleted(http: httpx.Client) -> None:
    made = http.post("/v1/users", headers=OPERATOR, json=USER).json()
    assert made["id"] in [user["id"] for user in http.get("/v1/users", headers=OPERATOR).json()["users"]]
    assert http.get(f"/v1/users/{made['id']}", headers=OPERATOR).json()["email"] == USER["email"]
    assert http.put(f"/v1/users/{made['id']}", headers=OPERATOR, json={"role": "admin"}).json()["role"] == "admin"
    assert http.delete(f"/v1/users/{made['id']}", headers=OPERATOR).status_code == 200


def test_usage_and_invoices_are_numbers_of_a_month(http: httpx.Client) -> None:
    sample = {
        "period": "2024-01",
        "usage": {"compute_hours": 1000, "storage_gb": 500, "network_gb": 100},
        "cost": {"compute": 50.0, "storage": 10.0, "network": 5.0, "total": 65.0},
    }
    for period in ("current", "last_month"):
        must_fit(http.get(f"/v1/billing/usage?period={period}", headers=BEARER).json(), sample)
    must_fit(http.get("/v1/billing/invoices", headers=BEARER).json(), {"invoices": []})


def test_a_webhook_is_made_as_printed(http: httpx.Client) -> None:
    body = {
        "url": "https://hooks.example/webhook",
        "events": ["agent.created", "agent.stopped"],
        "secret": "your-webhook-secret",
    }
    assert http.post("/v1/webhooks", headers=BEARER, json=body).status_code == 201


def test_a_bad_agent_is_told_in_the_printed_envelope(http: httpx.Client, agent: str) -> None:
    answer = http.post(f"/v1/agents/{agent}/scale", headers=BEARER, json={"replicas": 0})
    assert answer.status_code == 400
    details = {"field": Always("replicas"), "reason": "must be greater than 0"}
    must_fit(
        answer.json(), {"error": {"code": Always("invalid_request"), "message": "Invalid agent", "details": details}}
    )


@pytest.mark.parametrize(
    ("status", "code", "headers", "path"),
    [
        (401, "unauthorized", {}, "/v1/agents"),
        (403, "forbidden", BEARER, "/v1/users"),
        (404, "not_found", BEARER, "/v1/agents/agt_none"),
    ],
)
def test_refusals_have_the_printed_codes(
    http: httpx.Client, status: int, code: str, headers: dict[str, str], path: str
) -> None:
    answer = http.get(path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_free_tier_has_a_hundred_a_minute_and_says_so(http: httpx.Client, limited: Any) -> None:
    limited("limits.toml")
    headers = http.get("/v1/agents", headers=BEARER).headers
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("100", "99")
    assert headers["X-RateLimit-Reset"].isdigit()

"""The contract of the NeoRun page: projects, builds, pods and health, snake_case, with flat errors."""

from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest

from market.builds import BuildOrder
from market.jobs import JobState
from market.services import Service
from tests.builders import NOW
from tests.dialects.conftest import Do
from tests.dialects.shapes import Always, must_fit
from tests.node.api.fakes import KEY, OTHER_KEY, ROOT_KEY, World, a_job, pods_run, pods_say

NEORUN_KEY: Final = "neo_sk_your_key_here"
HEADERS: Final = {"X-API-Key": KEY}
PROJECT: Final = {"repo_url": "https://github.com/user/repo", "name": "My Project"}
GPU: Final = {"enabled": True, "min_vram_gb": 8}
PROJECT_SHOWN: Final[dict[str, Any]] = {
    "id": "uuid",
    "name": Always("My Project"),
    "repo_url": Always("https://github.com/user/repo"),
    "created_at": "2024-01-15T10:00:00Z",
}
POD: Final = {"id": "pod_1", "name": "x", "status": "running", "created_at": "2024-01-15T10:00:00Z"}


def flat(code: str, status: int) -> dict[str, Any]:
    """The page's envelope of errors."""
    return {"error": "Human-readable error message", "code": Always(code), "status": Always(status)}


def a_project(http: httpx.Client) -> str:
    answer = http.post("/v1/projects", headers=HEADERS, json=PROJECT)
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["id"]
    return id


@pytest.fixture
def pod(http: httpx.Client, world: World, do: Do) -> str:
    """A pod that runs."""
    made = http.post("/v1/deployments", headers=HEADERS, json={"customImage": "nginx:1"}).json()
    id = made["deployment"]["id"]
    do(pods_run(world, id))
    [pod] = http.get("/v1/pods", headers=HEADERS).json()["pods"]
    found: str = pod["id"]
    return found


def profiled(http: httpx.Client) -> dict[str, str]:
    """Headers with a key that was made for clients of this page."""
    body = {"name": "scripts", "expires_in": "30d", "profile": "neorun"}
    return {"X-API-Key": http.post("/v1/keys", headers=HEADERS, json=body).json()["key"]}


def test_projects_are_made_and_listed(http: httpx.Client) -> None:
    answer = http.post("/v1/projects", headers={**HEADERS, "Content-Type": "application/json"}, json=PROJECT)
    assert answer.status_code == 201
    must_fit(answer.json(), PROJECT_SHOWN)
    listed = http.get("/v1/projects", headers=HEADERS).json()
    must_fit(listed, {"projects": [PROJECT_SHOWN]})
    assert http.get("/v1/projects", headers={"X-API-Key": OTHER_KEY}).json()["projects"] == []


def test_the_printed_body_posts_a_build(http: httpx.Client, world: World) -> None:
    body = {"project_id": a_project(http), "gpu_config": GPU}
    answer = http.post("/v1/jobs", headers=HEADERS, json=body)
    assert answer.status_code == 201
    must_fit(answer.json(), {"id": "job_1", "kind": Always("build"), "status": Always("pending")})
    [new] = world.jobs.submitted
    assert new.build == BuildOrder(project=body["project_id"], gpus=1, vram=8 * 2**30)


def test_a_job_shows_status_steps_and_timing(http: httpx.Client, world: World) -> None:
    build = BuildOrder(project="p")
    job = world.jobs.put(a_job(build=build, state=JobState.RUNNING, lease="lea_1", agreed_at=NOW, started_at=NOW + 10))
    shown = http.get(f"/v1/jobs/{job.id}", headers=HEADERS)
    step = {"name": "place", "status": "done"}
    must_fit(shown.json(), {"status": Always("running"), "steps": [step], "timings": {"submitted": 1, "started": 1}})


def test_a_job_is_cancelled(http: httpx.Client, world: World) -> None:
    job = world.jobs.put(a_job(build=BuildOrder(project="p")))
    answer = http.post(f"/v1/jobs/{job.id}/cancel", headers=HEADERS)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_pods_that_run_and_pods_that_are_stopped_are_listed(http: httpx.Client, world: World, do: Do, pod: str) -> None:
    listed = http.get("/v1/pods", headers=HEADERS).json()
    must_fit(listed, {"pods": [POD | {"id": Always(pod), "status": Always("running")}]})
    stopped = http.post(f"/v1/pods/{pod}/stop", headers=HEADERS)
    assert (stopped.status_code, stopped.json()["id"]) == (200, pod)
    do(pods_run(world, listed["pods"][0]["deployment_id"], "cancelled"))
    listed = http.get("/v1/pods", headers=HEADERS).json()
    must_fit(listed, {"pods": [POD | {"id": Always(pod), "status": Always("stopped")}]})
    started = http.post(f"/v1/pods/{pod}/start", headers=HEADERS)
    assert (started.status_code, started.json()["status"]) == (200, "starting")


def test_a_pod_is_deleted(http: httpx.Client, world: World, pod: str) -> None:
    answer = http.delete(f"/v1/pods/{pod}", headers=HEADERS)
    assert (answer.status_code, answer.json()["success"]) == (200, True)


def test_a_pod_has_logs(http: httpx.Client, world: World, do: Do, pod: str) -> None:
    [service] = world.storage.find(Service)
    do(pods_say(world, service.id, *(f"line {number}" for number in range(120))))
    logs = http.get(f"/v1/pods/{pod}/logs?tail=100", headers=HEADERS).json()
    must_fit(logs, {"logs": [{"timestamp": "2024-01-15T10:00:00Z", "message": "line"}]})
    assert [line["message"] for line in logs["logs"]] == [f"line {number}" for number in range(20, 120)]
    assert http.get(f"/v1/pods/{pod}/logs", headers=HEADERS).json() == logs


def test_health_tells_of_worker_engine_and_queue(http: httpx.Client) -> None:
    must_fit(
        http.get("/v1/health", headers=HEADERS).json(),
        {"status": "ok", "docker": {"available": True}, "queueDepth": 0},
    )
    assert http.get("/v1/health").json()["status"] == "ok"


@pytest.mark.parametrize("life", ["30d", "90d", "1y", None, "never"])
def test_keys_live_as_long_as_the_settings_offer(http: httpx.Client, life: str | None) -> None:
    made = http.post("/v1/keys", headers=HEADERS, json={"name": "scripts", "expires_in": life})
    assert made.status_code == 201
    assert (made.json()["expiresAt"] is None) is (life in (None, "never"))
    assert http.get("/v1/pods", headers={"X-API-Key": made.json()["key"]}).status_code == 200


def test_an_expired_key_is_refused(http: httpx.Client, world: World) -> None:
    key = http.post("/v1/keys", headers=HEADERS, json={"name": "scripts", "expires_in": "30d"}).json()["key"]
    world.clock.time += 30 * 86_400_000
    answer = http.get("/v1/pods", headers={"X-API-Key": key})
    must_fit(answer.json(), flat("UNAUTHORIZED", 401))


def test_a_token_of_the_frontend_is_taken_as_bearer(http: httpx.Client, world: World) -> None:
    ann = {"email": "ann@example.org", "password": "correct horse"}
    http.post("/v1/users", headers={"X-API-Key": ROOT_KEY}, json=ann)
    token = http.post("/v1/auth/token", json=ann).json()["access_token"]
    assert http.get("/v1/pods", headers={"Authorization": f"Bearer {token}"}).json()["pods"] == []


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": NEORUN_KEY}, {"Authorization": "Bearer a.b.c"}])
@pytest.mark.parametrize("path", ["/v1/pods", "/v1/projects"])
def test_missing_or_invalid_authentication(http: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = http.get(path, headers=headers)
    assert answer.status_code == 401
    must_fit(answer.json(), flat("UNAUTHORIZED", 401))


def test_too_little_permission(http: httpx.Client) -> None:
    body = {"name": "reader", "scopes": ["read"]}
    reader = {"X-API-Key": http.post("/v1/keys", headers=HEADERS, json=body).json()["key"]}
    must_fit(http.post("/v1/projects", headers=reader, json=PROJECT).json(), flat("FORBIDDEN", 403))


def test_quota_exceeded(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.actions.projects.MAX_PROJECTS", 1)
    a_project(http)
    answer = http.post("/v1/projects", headers=HEADERS, json=PROJECT)
    must_fit(answer.json(), flat("QUOTA_EXCEEDED", 403))


def test_what_is_not_there(http: httpx.Client) -> None:
    for path in ("/v1/pods/none/logs", "/v1/pods/none/nothing/else", "/v1/projects/none"):
        must_fit(http.get(path, headers=HEADERS).json(), flat("NOT_FOUND", 404))
    for method, path in (("POST", "stop"), ("POST", "start"), ("DELETE", "")):
        answer = http.request(method, f"/v1/pods/none/{path}".rstrip("/"), headers=HEADERS)
        must_fit(answer.json(), flat("NOT_FOUND", 404))


def test_a_server_that_fails(http: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(world.hosting, "list", fail)
    answer = http.get("/v1/pods", headers=HEADERS)
    must_fit(answer.json(), flat("INTERNAL_ERROR", 500))
    assert "secret" not in answer.text


def test_a_body_that_does_not_fit(http: httpx.Client) -> None:
    answer = http.post("/v1/projects", headers=HEADERS, json={"repo_url": "nothing", "name": "My Project"})
    must_fit(answer.json(), flat("INVALID_PARAMETERS", 400))


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/projects", {}, "repo_url"),
        ("/v1/projects", {"repo_url": 5}, "repo_url"),
        (
            "/v1/jobs",
            {"project_id": "p", "gpu_config": {"enabled": True, "min_vram_gb": "8"}},
            "gpu_config.min_vram_gb",
        ),
    ],
)
def test_a_field_that_does_not_fit_is_called_as_on_this_page(
    http: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = http.post(path, headers=HEADERS, json=body).json()
    error = answer if isinstance(answer["error"], str) else answer["error"]
    assert (error["details"]["field"], field in error.get("message", answer["error"])) == (field, True)


def test_a_key_made_for_this_page_reads_flat_errors_on_shared_paths_too(http: httpx.Client) -> None:
    headers = profiled(http)
    must_fit(http.get("/v1/jobs/none", headers=headers).json(), flat("NOT_FOUND", 404))
    must_fit(http.post("/v1/jobs", headers=headers, json={}).json(), flat("INVALID_PARAMETERS", 400))
    must_fit(http.post("/v1/jobs/none/cancel", headers=headers).json(), flat("NOT_FOUND", 404))


def test_it_reads_them_where_nobody_has_looked_at_the_key_too(http: httpx.Client, world: World) -> None:
    headers = profiled(http)
    must_fit(http.get("/v1/nothing", headers=headers).json(), flat("NOT_FOUND", 404))
    must_fit(http.delete("/v1/jobs", headers=headers).json(), flat("METHOD_NOT_ALLOWED", 405))
    world.clock.time += 30 * 86_400_000
    must_fit(http.get("/v1/jobs", headers=headers).json(), flat("UNAUTHORIZED", 401))
    must_fit(http.get("/v1/jobs", headers={"X-API-Key": NEORUN_KEY}).json(), flat("UNAUTHORIZED", 401))
    for other in (HEADERS, {}, {"Authorization": "Basic x"}):
        assert isinstance(http.get("/v1/nothing", headers=other).json()["error"], dict)


def test_ten_deploys_an_hour(http: httpx.Client, world: World, limited: Callable[[str], None]) -> None:
    body = {"project_id": a_project(http), "gpu_config": GPU}
    headers = profiled(http)
    limited("limits.toml")

    def deploys(count: int) -> list[httpx.Response]:
        return [http.post("/v1/jobs", headers=headers, json=body) for _ in range(count)]

    answers = deploys(11)
    assert [answer.status_code for answer in answers] == [201] * 10 + [429]
    must_fit(answers[-1].json(), flat("RATE_LIMITED", 429))
    world.clock.time += 3_600_000
    assert deploys(1)[0].status_code == 201


def test_thirty_stops_and_starts_an_hour(http: httpx.Client, limited: Callable[[str], None], pod: str) -> None:
    limited("limits.toml")
    paths = [f"/v1/pods/{pod}/{what}" for what in ("stop", "start")] * 15
    assert {http.post(path, headers=HEADERS).status_code for path in paths} == {200}
    answer = http.post(paths[0], headers=HEADERS)
    assert answer.status_code == 429
    must_fit(answer.json(), flat("RATE_LIMITED", 429))


def test_five_new_keys_an_hour(http: httpx.Client, limited: Callable[[str], None]) -> None:
    limited("limits.toml")
    statuses = [http.post("/v1/keys", headers=HEADERS, json={"name": "k"}).status_code for _ in range(6)]
    assert statuses == [201] * 5 + [429]


def test_a_hundred_requests_a_minute_for_each_user_in_a_sliding_window(
    http: httpx.Client, world: World, limited: Callable[[str], None]
) -> None:
    limited("limits.toml")
    for half in range(2):
        world.clock.time += 30_000 * half
        assert {http.get("/v1/pods", headers=HEADERS).status_code for _ in range(50)} == {200}
    refused = http.get("/v1/pods", headers=HEADERS)
    must_fit(refused.json(), flat("RATE_LIMITED", 429))
    assert http.get("/v1/pods", headers={"X-API-Key": OTHER_KEY}).status_code == 200
    world.clock.time += 30_000
    statuses = [http.get("/v1/pods", headers=HEADERS).status_code for _ in range(51)]
    assert statuses == [200] * 50 + [429]

"""Projects, and the jobs that build them, as the documented clients see them."""

from typing import Any

import httpx
import pytest

from market.builds import STREAM, BuildOrder, step_begins, step_ends
from market.dialogue import Line
from market.jobs import JobState
from market.workloads import Source, WorkloadKind
from node.actions.logs import keep_lines
from node.actions.projects import MAX_PROJECTS
from node.records import Project
from tests.builders import NOW
from tests.node.api.fakes import ALICE, OTHER_KEY, World, a_job

pytestmark = pytest.mark.anyio

URL = "https://github.com/you/app.git"
MISSING = "0b1e0000-0000-4000-8000-000000000000"


async def a_project(client: httpx.AsyncClient, **changes: Any) -> Any:
    answer = await client.post("/v1/projects", json={"repo_url": URL, "name": "app"} | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_the_documented_body_makes_a_project(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/projects", json={"repo_url": URL, "name": "app"})
    project = answer.json()
    assert answer.headers["location"] == f"/v1/projects/{project['id']}"
    assert len(project["id"]) == 36
    assert project == {
        "id": project["id"],
        "name": "app",
        "repo_url": URL,
        "ref": "",
        "folder": "",
        "dockerfile": "",
        "created_at": "2025-06-15T15:06:40.000Z",
    }
    assert (await client.get(f"/v1/projects/{project['id']}")).json() == project
    listed = (await client.get("/v1/projects")).json()
    assert (listed["projects"], listed["pagination"]["total"]) == ([project], 1)
    gone = await client.delete(f"/v1/projects/{project['id']}")
    assert gone.json() == {"success": True, "message": "Project deleted", "id": project["id"]}
    assert (await client.get("/v1/projects")).json()["projects"] == []


async def test_a_project_has_the_name_of_its_repository_and_may_name_a_place_in_it(client: httpx.AsyncClient) -> None:
    body = {"repoUrl": "HTTPS://GitHub.com/you/My-App.git", "ref": "v1", "folder": "web/", "dockerfile": "docker/File"}
    project = (await client.post("/v1/projects", json=body)).json()
    assert (project["name"], project["repo_url"]) == ("My-App", "https://github.com/you/My-App.git")
    assert (project["ref"], project["folder"], project["dockerfile"]) == ("v1", "web", "docker/File")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({"repo_url": url}, "repo_url") for url in ("http://github.com/a/b", "git@github.com:a/b", "ssh://x.y/a")),
        *(({"repo_url": url}, "repo_url") for url in ("https://localhost/a", "https://127.0.0.1/a", "https://[::1]/a")),
        *(({"repo_url": url}, "repo_url") for url in ("https://me:pw@github.com/a", "https://a.b/c?d", "file:///etc")),
        *(({"repo_url": url}, "repo_url") for url in ("https://github.com", "https://a.b/\u0000", "nothing")),
        ({"repo_url": ""}, "repoUrl"),
        ({"repo_url": "https://a.b/" + "c" * 600}, "repoUrl"),
        ({"ref": "--upload-pack=x"}, "ref"),
        ({"folder": "../.."}, "folder"),
        ({"dockerfile": "/etc/passwd"}, "dockerfile"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"branch": "main"}, "branch"),
    ],
)
async def test_what_does_not_fit_is_refused_flat_with_its_field(
    client: httpx.AsyncClient, change: dict[str, str], field: str
) -> None:
    answer = await client.post("/v1/projects", json={"repo_url": URL, "name": "app"} | change)
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (400, 400, "INVALID_PARAMETERS"), body
    assert isinstance(body["error"], str)
    assert body["details"]["field"] == field


async def test_a_project_of_somebody_else_is_none(client: httpx.AsyncClient, world: World) -> None:
    id = (await a_project(client))["id"]
    for key, wanted in ((OTHER_KEY, id), (None, MISSING)):
        headers = {"X-API-Key": key} if key else {}
        for call in (client.get, client.delete):
            answer = await call(f"/v1/projects/{wanted}", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
            assert answer.json()["error"] == "no such project"
        answer = await client.post("/v1/jobs", json={"project_id": wanted}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


async def test_the_documented_body_posts_a_build(client: httpx.AsyncClient, world: World) -> None:
    id = (await a_project(client))["id"]
    body = {"project_id": id, "gpu_config": {"enabled": True, "min_vram_gb": 8}}
    answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["kind"], answer.json()["projectId"], answer.json()["status"]) == ("build", id, "pending")
    [new] = world.jobs.submitted
    assert new.build == BuildOrder(project=id, gpus=1, vram=8 * 2**30)
    assert (new.workload.kind, new.workload.outputs) == (WorkloadKind.BUILD, ("image.tar",))
    assert new.workload.source is not None
    assert (new.workload.source.url, new.cap) == (URL, 1_000_000)


async def test_a_build_may_say_what_it_may_cost_and_use(client: httpx.AsyncClient, world: World) -> None:
    id = (await a_project(client, ref="main"))["id"]
    body = {
        "projectId": id,
        "ref": "v2",
        "maxPrice": "0.5",
        "timeout": "10m",
        "resources": {"cpu": 1, "memory": "1Gi", "disk": "2Gi"},
        "region": "eu",
        "gpuConfig": {"enabled": False, "minVramGb": 8},
    }
    assert (await client.post("/v1/jobs", json=body)).status_code == 201
    [new] = world.jobs.submitted
    assert new.workload.source is not None
    assert (new.workload.source.ref, new.cap, new.workload.timeout) == ("v2", 500_000, 600)
    assert (new.workload.resources.disk, new.constraints.region) == (2 * 2**30, "eu")
    assert new.build == BuildOrder(project=id, gpus=0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image": "busybox"}, "image"),
        ({"command": ["x"]}, "command"),
        ({"env": {"A": "b"}}, "env"),
        ({"outputs": ["x"]}, "outputs"),
        ({"inputs": [{"path": "a", "text": "b"}]}, "inputs"),
        ({"gpu_config": {"enabled": "yes"}}, "gpuConfig.enabled"),
        ({"gpu_config": {"enabled": True, "min_vram_gb": -1}}, "gpuConfig.minVramGb"),
        ({"ref": "a..b"}, "ref"),
        ({"maxPrice": "0"}, "maxPrice"),
    ],
)
async def test_what_a_build_can_not_have_is_refused(
    client: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    id = (await a_project(client))["id"]
    answer = await client.post("/v1/jobs", json={"project_id": id} | change)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field), answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"maxPrice": "1.0"}, "image"),
        ({"image": "busybox"}, "maxPrice"),
        ({"image": "busybox", "maxPrice": "1.0", "gpuConfig": {}}, "gpuConfig"),
        ({"image": "busybox", "maxPrice": "1.0", "ref": "main"}, "ref"),
    ],
)
async def test_what_only_a_build_can_have_is_refused_of_an_image(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


async def test_a_job_shows_the_steps_of_its_build(client: httpx.AsyncClient, world: World) -> None:
    job = world.jobs.put(
        a_job(
            build=BuildOrder(project=MISSING),
            state=JobState.RUNNING,
            lease="lea_1",
            agreed_at=NOW + 5,
            started_at=NOW + 10,
        )
    )
    before = await client.get(f"/v1/jobs/{job.id}")
    assert [step["name"] for step in before.json()["steps"]] == ["place", "prepare", "run", "pay"]
    texts = (step_begins(1, "clone x"), step_ends(1), step_begins(2, "RUN make"))
    lines = [Line(at=NOW + 20 * number, stream=STREAM, text=text) for number, text in enumerate(texts, 1)]
    lines.append(Line(at=NOW + 99, stream="stdout", text=step_ends(2)))
    await world.storage.write(lambda tx: keep_lines(tx, "lea_1", WorkloadKind.BUILD, 0, tuple(lines), NOW, 0))
    answer = await client.get(f"/v1/jobs/{job.id}", headers={"If-None-Match": before.headers["etag"]})
    assert [(step["name"], step["status"]) for step in answer.json()["steps"]] == [
        ("place", "done"),
        ("prepare", "done"),
        ("clone x", "done"),
        ("RUN make", "active"),
        ("pay", "waiting"),
    ]
    assert answer.json()["steps"][2]["finishedAt"] == "2025-06-15T15:06:40.040Z"


async def test_all_projects_of_an_account_are_on_one_page(client: httpx.AsyncClient, world: World) -> None:
    source = Source(url=URL)
    for number in range(MAX_PROJECTS):
        world.storage.put(Project(id=f"{number}", account=ALICE.id, name="app", source=source, created_at=NOW))
    listed = (await client.get("/v1/projects")).json()
    assert (len(listed["projects"]), listed["pagination"]["hasMore"]) == (MAX_PROJECTS, False)
    assert len((await client.get("/v1/projects?limit=5")).json()["projects"]) == 5

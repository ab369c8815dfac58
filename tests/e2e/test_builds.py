"""From a repository to an address: whole nodes, a real git server, a real engine, and the pod behind the gateway."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from msgspec.structs import replace

from cli.cluster import Cluster
from market.errors import NeugridError
from node.adapters.builds.git_image import ensure_git_image
from node.config import Config
from tests.node.adapters.engines import need_engine
from tests.node.adapters.repositories import Repositories, a_git_server

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(600)]


class Builders(Cluster):
    """A cluster whose provider builds of the test's own git server."""

    def __init__(self, folder: Path, git: Repositories) -> None:
        super().__init__(folder, prices=("0.04",))
        self._git = git

    def _config(self, name: str, port: int) -> Config:
        config = super()._config(name, port)
        provider = replace(
            config.provider,
            builds=name != "requester",
            repository_hosts=(self._git.listed,),
            repository_ca=str(self._git.authorities),
        )
        return replace(config, provider=provider, requester=replace(config.requester, build_egress="none"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builders]:
    need_engine()
    try:
        asyncio.run(ensure_git_image())
    except NeugridError as error:
        pytest.skip(f"no image with git: {error}")
    folder = tmp_path_factory.mktemp("builds")
    with a_git_server(folder / "git") as git:
        cluster = Builders(folder / "cluster", git)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            _remove_images(cluster.made["provider-1"].identity)


def test_a_site_is_built_and_answers_at_its_address(cluster: Builders) -> None:
    url = cluster._git.add("site", {"index.html": "<h1>built and served</h1>"})
    contact = cluster.contact("requester")
    with httpx.Client(base_url=contact.url, headers={"X-API-Key": contact.key}, timeout=70) as client:
        project = client.post("/v1/projects", json={"repo_url": url, "name": "site"}).json()
        body = {"project_id": project["id"], "gpu_config": {"enabled": False, "min_vram_gb": 0}}
        posted = client.post("/v1/jobs", json=body)
        assert posted.status_code == 201, posted.text
        job = _until_it_ends(client, posted.json()["id"])
        assert (job["status"], job["error"]) == ("success", None), cluster.last_words("provider-1")
        names = [step["name"] for step in job["steps"]]
        assert names[2:5] == [f"clone {url}", "plan", "images"]
        assert {step["status"] for step in job["steps"][:-1]} == {"done"}
        pod = _until_it_runs(client)
        service = client.get(f"/v1/deployments/{pod['deployment_id']}").json()["deployment"]
        address = httpx.URL(service["endpoints"][0]["url"])
        served = _until_it_answers(f"http://127.0.0.1:{address.port}/", address.host)
        assert (served.status_code, served.text) == (200, "<h1>built and served</h1>")
    command = (sys.executable, "-m", "cli.main", "build", url, "--wait", "--url", contact.url, "--key", contact.key)
    again = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert again.returncode == 0, again.stdout + again.stderr + cluster.last_words("provider-1")
    assert "begins: cached" in again.stdout, "it was built before, and nothing has changed"


def _remove_images(provider: str) -> None:
    """What this provider built: its images stay for the next job, so here they have to be taken away."""
    client = docker.APIClient(version="auto")
    for item in client.images(filters={"label": "neugrid.build"}):
        if item["Labels"]["neugrid.build"].startswith(f"{provider}/"):
            client.remove_image(item["Id"], force=True)
    client.close()


def _until_it_ends(client: httpx.Client, id: str) -> Any:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        job = client.get(f"/v1/jobs/{id}", params={"wait": 60}).json()
        if job["finishedAt"]:
            return job
    raise AssertionError(job)


def _until_it_answers(url: str, host: str) -> httpx.Response:
    """A program that runs may not listen yet."""
    deadline = time.monotonic() + 60
    while (answer := httpx.get(url, headers={"Host": host}, timeout=20)).status_code >= 500:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    return answer


def _until_it_runs(client: httpx.Client) -> Any:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        pods = client.get("/v1/pods").json()["pods"]
        if pods and pods[0]["status"] == "running":
            return pods[0]
        time.sleep(0.2)
    raise AssertionError(client.get("/v1/pods").text)

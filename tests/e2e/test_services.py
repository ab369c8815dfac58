"""Services through real processes: replicas at two providers, reached by host name, entered, replaced, taken down."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(400)]

SERVER = """
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (os.environ["GREETING"] + " " + os.uname().nodename).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
socketserver.ThreadingTCPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""
BODY: dict[str, Any] = {
    "customImage": "python:3.11-slim",
    "command": ["python3", "-u", "-c", SERVER],
    "env": {"GREETING": "hello"},
    "ports": [{"port": 8000, "direct": True}],
    "probe": {"kind": "http", "port": 8000, "interval": 1, "timeout": 10, "startPeriod": 60},
    "resources": {"cpu": 0.25, "memory": "128Mi"},
    "maxPricePerHour": "0.5",
}


class Service:
    """A deployment as its user sees it."""

    def __init__(self, market: Market, **changes: Any) -> None:
        self.market = market
        contact = market.cluster.contact("requester")
        self.api = httpx.Client(base_url=contact.url, headers={"X-API-Key": contact.key}, timeout=30)
        made = self.api.post("/v1/deployments", json=BODY | changes)
        assert made.status_code == 201, made.text
        self.id = made.json()["deployment"]["id"]

    def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.api.get(f"/v1/deployments/{self.id}").json()["deployment"]
        return shown

    def until(self, status: str, ready: int) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            now = self.shown()
            return now if (now["status"], now["readyReplicas"]) == (status, ready) else None

        found: dict[str, Any] = self.market.until(look, f"{self.id} {status} with {ready} pods", within=150)
        return found

    def tell(self, verb: str, **body: Any) -> None:
        answer = self.api.post(f"/v1/deployments/{self.id}/{verb}", json=body or None)
        assert answer.is_success, answer.text

    def get(self) -> httpx.Response:
        """One request through the gateway, to loopback whatever the host name resolves to."""
        place = urlsplit(self.shown()["endpoints"][0]["url"])
        return httpx.get(f"http://127.0.0.1:{place.port}/", headers={"Host": place.netloc}, timeout=20)

    def end(self) -> None:
        self.api.delete(f"/v1/deployments/{self.id}")
        self.api.close()


@pytest.fixture(scope="module")
def service(market: Market) -> Iterator[Service]:
    service = Service(market, replicas=2, name="web")
    try:
        service.until("running", 2)
        yield service
    finally:
        service.end()


def test_replicas_are_spread_over_providers_and_both_answer(service: Service) -> None:
    pods = service.shown()["pods"]
    assert len({pod["provider"] for pod in pods}) == 2
    assert {pod["health"] for pod in pods} == {"healthy"}
    answers = {service.get().text for _ in range(12)}
    assert len(answers) == 2
    assert all(answer.startswith("hello ") for answer in answers)


def test_each_pod_is_also_reached_on_its_providers_own_address(service: Service) -> None:
    def direct() -> list[str]:
        return [place["url"] for place in service.shown()["endpoints"][1:]]

    service.market.until(lambda: len(direct()) == 2, "direct ports")
    assert len({httpx.get(url, timeout=20).text for url in direct()}) == 2


def test_secrets_are_shown_by_no_answer(service: Service) -> None:
    assert service.shown()["env"] == {"GREETING": "***"}


def test_a_command_runs_inside_with_its_input_and_exit_code(service: Service) -> None:
    pod = service.shown()["pods"][0]["id"]
    contact = service.market.cluster.contact("requester")
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "exec", pod, "--", "sh", "-c", "id -u; cat; exit 7"],
        input=b"said from outside",
        capture_output=True,
        env={**os.environ, "NEUGRID_URL": contact.url, "NEUGRID_KEY": contact.key},
        timeout=100,
        check=False,
    )
    user, _, said = done.stdout.partition(b"\n")
    assert (done.returncode, said) == (7, b"said from outside"), done.stderr
    assert int(user) > 1000


def test_files_go_in_and_out(service: Service) -> None:
    pod = service.shown()["pods"][0]["id"]
    buffer, member = io.BytesIO(), tarfile.TarInfo("note.txt")
    member.size = 5
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(member, io.BytesIO(b"hello"))
    sent = service.api.put(f"/v1/jobs/{pod}/files", params={"path": "/tmp"}, content=buffer.getvalue())
    assert sent.status_code == 200, sent.text
    came = service.api.get(f"/v1/jobs/{pod}/files", params={"path": "/tmp/note.txt"})
    with tarfile.open(fileobj=io.BytesIO(came.content)) as archive:
        (file,) = [archive.extractfile(member) for member in archive if member.isfile()]
        assert file is not None
        assert file.read() == b"hello"


def test_an_update_replaces_pods_while_the_service_answers(service: Service) -> None:
    changed = service.api.patch(f"/v1/deployments/{service.id}", json={"env": {"GREETING": "welcome"}})
    assert changed.status_code == 200, changed.text
    statuses = []

    def welcomed() -> bool:
        answer = service.get()
        statuses.append(answer.status_code)
        pods = service.shown()["pods"]
        return answer.text.startswith("welcome") and len(pods) == 2 and all(pod["health"] == "healthy" for pod in pods)

    service.market.until(welcomed, "the new greeting from both", within=150)
    assert set(statuses) == {200}


def test_stopped_it_answers_no_more_and_started_it_does_again(service: Service) -> None:
    service.tell("stop")
    service.until("stopped", 0)
    service.tell("start")
    service.until("running", 2)
    assert service.get().status_code == 200


def test_a_host_name_that_is_nobodys_is_not_found(service: Service) -> None:
    place = urlsplit(service.shown()["endpoints"][0]["url"])
    answer = httpx.get(f"http://127.0.0.1:{place.port}/", headers={"Host": f"dep-0000.localhost:{place.port}"})
    assert answer.status_code == 404


def test_a_service_whose_program_ends_is_an_error_that_says_why(market: Market) -> None:
    service = Service(market, command=["sh", "-c", "exit 3"], probe=None)
    try:
        shown = market.until(lambda: _failed(service.shown()), "an error")
        assert shown["pods"][0]["error"]["code"] == "EXIT_CODE"
    finally:
        service.end()


def _failed(shown: dict[str, Any]) -> dict[str, Any] | None:
    return shown if shown["status"] == "error" else None


def test_the_pods_of_a_dead_provider_come_up_elsewhere(market: Market) -> None:
    service = Service(market, replicas=1)
    try:
        pod = service.until("running", 1)["pods"][0]
        name = market.provider_of(pod)
        market.cluster.kill(name)
        moved = market.until(
            lambda: _elsewhere(service.shown(), pod["provider"]), "the pod at the other provider", within=120
        )
        assert moved["status"] == "running"
        assert service.get().status_code == 200
        market.cluster.restart(name)
        market.until(lambda: len(market.buyer.providers()) == 2, "the provider is back")
    finally:
        service.end()


def _elsewhere(shown: dict[str, Any], before: str) -> dict[str, Any] | None:
    pod = shown["pods"][0]
    return shown if shown["status"] == "running" and pod["provider"] not in (None, before) else None

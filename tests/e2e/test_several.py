"""API processes beside one node on one PostgreSQL: real processes, a devnet, no provider and no Docker."""

import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from cli.cluster import Cluster, free_port
from node.actions.happenings import SILENCE
from node.api.limit_file import FILE
from node.config import Config, GatewaySettings, StorageSettings
from tests.node.adapters.postgres_server import a_server

JOB = {
    "image": "busybox",
    "command": ["true"],
    "resources": {"cpu": 0.1, "memory": "64Mi"},
    "maxPrice": "0.001",
    "timeout": "5m",
}
APIS = ("api-1", "api-2")
A_MINUTE = 12


class Several(Cluster):
    """A devnet, one requester on PostgreSQL, and API processes beside it."""

    def __init__(self, folder: Path, database: str) -> None:
        super().__init__(folder, prices=())
        self._database = database
        self.urls: dict[str, str] = {}
        self.http = httpx.Client(timeout=60)

    def _config(self, name: str, port: int) -> Config:
        made = super()._config(name, port)
        limits = self.folder / "limits.toml"
        limits.write_text(FILE.read_text() + f'power = ["{A_MINUTE}/1m"]\n')  # of the operator's tier, the last one
        return msgspec.structs.replace(
            made,
            api=msgspec.structs.replace(made.api, limits=str(limits)),
            storage=StorageSettings(url=self._database),
            gateway=GatewaySettings(is_on=False),
        )

    def start_api(self, name: str) -> None:
        """Start an API process, and wait until it serves."""
        port = free_port()
        command = [sys.executable, "-m", "cli.main", "api", "--port", str(port)]
        self.processes.pop(name, None)
        self._spawn(name, [*command, "--config", str(self.made["requester"].config)])
        self.urls[name] = f"http://127.0.0.1:{port}"
        self._wait(name, lambda: _serves(self.urls[name]))

    def start_requester(self) -> None:
        """Start the node, and wait until it serves."""
        self.start_node("requester")
        contact = self.contact("requester")
        self.urls["requester"] = contact.url
        self.http.headers["x-api-key"] = contact.key

    def ask(self, name: str, method: str, path: str, **more: Any) -> httpx.Response:
        """What one process answers the operator."""
        return self.http.request(method, f"{self.urls[name]}{path}", **more)

    def post_job(self, name: str, key: str = "") -> httpx.Response:
        """Post a job that nobody will take."""
        return self.ask(name, "POST", "/v1/jobs", json=JOB, headers={"idempotency-key": key} if key else {})

    def phase(self, name: str, id: str) -> str:
        """How a job stands; "resting" is what the node has made of it."""
        return str(self.ask(name, "GET", f"/v1/jobs/{id}").json()["phase"])


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/version").status_code == 200
    except httpx.TransportError:
        return False


def until(check: Callable[[], Any], what: str, within: float = 60) -> Any:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)
    pytest.fail(f"waited {within} s for {what}")


@pytest.fixture(scope="module")
def several() -> Iterator[Several]:
    folder = Path(tempfile.mkdtemp(prefix="neugrid-several-"))
    with a_server() as server, server.database() as url:
        cluster = Several(folder, url)
        try:
            cluster.start()
            contact = cluster.contact("requester")
            cluster.urls["requester"] = contact.url
            cluster.http.headers["x-api-key"] = contact.key
            for name in APIS:
                cluster.start_api(name)
            yield cluster
        finally:
            cluster.http.close()
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)


def test_a_job_that_one_process_takes_is_placed_by_the_node_and_seen_by_all(several: Several) -> None:
    answer = several.post_job("api-1")
    assert answer.status_code == 201
    id = answer.json()["id"]
    until(lambda: several.phase("api-2", id) == "resting", "the node to place it")

    assert several.ask("api-2", "POST", f"/v1/jobs/{id}/cancel").status_code == 200
    assert several.phase("requester", id) == several.phase("api-1", id) == "cancelled"


def test_one_order_that_is_repeated_at_all_processes_at_once_is_one_job(several: Several) -> None:
    before = several.ask("api-1", "GET", "/v1/jobs").json()["pagination"]["total"]
    names = cycle((*APIS, "requester"))
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda name: several.post_job(name, "one-order"), [next(names) for _ in range(36)]))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert several.ask("api-2", "GET", "/v1/jobs").json()["pagination"]["total"] == before + 1


def test_the_limits_hold_for_all_processes_together(several: Several) -> None:
    names = cycle((*APIS, "requester"))

    def stop(name: str) -> int:
        return several.ask(name, "POST", "/v1/deployments/dep_none/stop").status_code

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(stop, [next(names) for _ in range(A_MINUTE + 9)]))
    assert (found.count(404), found.count(429)) == (A_MINUTE, 9)


def test_what_happens_at_one_process_is_followed_at_the_others(several: Several) -> None:
    heard: dict[str, list[str]] = {name: [] for name in (*APIS, "requester")}
    ready = {name: threading.Event() for name in heard}

    def follow(name: str) -> None:
        with several.http.stream("GET", f"{several.urls[name]}/v1/events") as stream:
            for line in stream.iter_lines():
                ready[name].set()
                told = json.loads(line[6:]) if line.startswith("data: ") else {}
                if told.get("event") == "job.created":
                    heard[name].append(told["data"]["job_id"])
                    if len(heard[name]) == 2:
                        return

    threads = [threading.Thread(target=follow, args=(name,)) for name in heard]
    for thread in threads:
        thread.start()
    assert all(event.wait(60) for event in ready.values())
    deadline = time.monotonic() + 0.9 * SILENCE  # after which a follower looks again by itself
    posted = [several.post_job("api-1").json()["id"], several.post_job("requester").json()["id"]]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert heard == dict.fromkeys(heard, posted)


def test_a_key_that_is_revoked_at_one_process_dies_at_the_others(several: Several) -> None:
    made = several.ask("api-1", "POST", "/v1/keys", json={"name": "short"}).json()
    keys = {"x-api-key": made["key"]}
    assert several.ask("api-2", "GET", "/v1/keys", headers=keys).status_code == 200
    assert several.ask("requester", "GET", "/v1/keys", headers=keys).status_code == 200

    assert several.ask("api-1", "DELETE", f"/v1/keys/{made['id']}").status_code == 200
    for name in ("api-2", "requester"):  # how soon that is, a test of keys shows by a clock of its own
        until(lambda name=name: several.ask(name, "GET", "/v1/keys", headers=keys).status_code == 401, "a refusal")


def test_what_needs_the_node_is_handed_on_with_the_callers_own_credential(several: Several) -> None:
    for path in ("/v1/providers", "/v1/health", "/v1/wallet/balance", "/v1/market/stats"):
        mine, other = several.ask("api-1", "GET", path), several.ask("requester", "GET", path)
        assert (mine.status_code, set(mine.json())) == (other.status_code, set(other.json())), path
    answer = several.ask("api-1", "GET", "/v1/providers", headers={"x-request-id": "mine", "x-api-key": "none"})
    assert (answer.status_code, answer.headers.get_list("x-request-id")) == (401, ["mine"])


def test_a_websocket_is_carried_to_the_node_and_a_refusal_is_its_own(several: Several) -> None:
    id = several.post_job("api-1").json()["id"]
    place = several.urls["api-2"].replace("http", "ws")
    key = {"x-api-key": several.http.headers["x-api-key"]}
    with connect(f"{place}/v1/jobs/{id}/exec?command=true", additional_headers=key) as socket:
        last = json.loads(socket.recv()[1:])
    assert last["code"] == "CONFLICT"
    with connect(f"{place}/v1/ws", additional_headers=key) as socket:
        socket.send(json.dumps({"subscribe": ["jobs"]}))
        assert json.loads(socket.recv()) == {"subscribed": ["jobs"]}
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{place}/v1/ws", additional_headers={"x-api-key": "none"})
    direct = several.urls["requester"].replace("http", "ws")
    with pytest.raises(InvalidStatus) as refused_there:
        connect(f"{direct}/v1/ws", additional_headers={"x-api-key": "none"})
    assert refused.value.response.status_code == refused_there.value.response.status_code


def test_nothing_that_was_answered_is_lost_when_an_api_process_is_killed(several: Several) -> None:
    taken: list[str] = []

    def post() -> None:
        while True:
            try:
                answer = several.post_job("api-1")
            except httpx.TransportError:
                return
            if answer.status_code == 201:
                taken.append(answer.json()["id"])

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(taken) > 20, "some answers")
    several.kill("api-1")
    for thread in threads:
        thread.join()

    assert several.post_job("api-2").status_code == 201, "the others go on at once"
    for id in taken:
        until(lambda id=id: several.phase("api-2", id) == "resting", f"the node to place {id}")
    several.start_api("api-1")


def test_while_the_node_is_away_the_others_go_on_and_afterwards_it_does_what_is_left(several: Several) -> None:
    several.kill("requester")

    taken = [several.post_job(name) for name in APIS]
    assert {answer.status_code for answer in taken} == {201}
    ids = [answer.json()["id"] for answer in taken]
    assert [several.phase("api-1", id) for id in ids] == ["pending", "pending"]
    away = several.ask("api-2", "GET", "/v1/providers")
    assert (away.status_code, away.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert int(away.headers["retry-after"]) > 0
    health = several.ask("api-2", "GET", "/v1/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{several.urls['api-1'].replace('http', 'ws')}/v1/jobs/{ids[0]}/exec?command=true")
    assert refused.value.response.status_code == 503

    several.start_requester()
    for id in ids:
        until(lambda id=id: several.phase("api-2", id) == "resting", "the node to take up what is left")
    assert several.ask("api-2", "GET", "/v1/providers").status_code == 200

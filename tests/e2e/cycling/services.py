"""Two services that stay up through everything, and what has to be true of them whenever the market is quiet."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any

import httpx

from market.jobs import Job
from market.leases import Lease
from node.actions.logs import read_lines
from node.ports import Reader
from tests.e2e.cycling.stage import Stage

KEEPER = """
id=$(cat /proc/sys/kernel/random/uuid)
echo $id >> /data/lives; sync; cp /data/lives /tmp/lives
httpd -p 8080 -h /tmp
i=0; while :; do i=$((i+1)); echo $id $i; sleep 0.25; done
"""
"""Writes each of its lives into its volume before its first line, and shows them all."""
PAIR = "id=$(cat /proc/sys/kernel/random/uuid); i=0; while :; do i=$((i+1)); echo $id $i; sleep 0.25; done"
SMALL = {"cpu": 0.05, "memory": "24Mi"}
VERBS = ("restart", "stop and start", "scale", "", "")


class Services:
    """The keeper has a volume, a probe and an endpoint; the pair has a way out to the internet."""

    def __init__(self, stage: Stage, rng: Random) -> None:
        self._stage = stage
        self._rng = rng
        self.ids: dict[str, str] = {}
        self._replicas = {"keeper": 1, "pair": 2}

    def create(self) -> None:
        for name, body in {"keeper": _keeper(), "pair": _pair()}.items():
            self.ids[name] = self._stage.patient(lambda name=name, body=body: self._create(name, body))["id"]  # type: ignore[misc]

    def delete(self) -> None:
        for id in self.ids.values():
            self._stage.patient(lambda id=id: self._stage.ask("DELETE", f"/v1/deployments/{id}"))  # type: ignore[misc]
        self.ids.clear()

    def stir(self) -> None:
        """A user changes his mind about one of them, now and then."""
        name, verb, count = self._rng.choice(list(self._replicas)), self._rng.choice(VERBS), self._rng.randint(1, 3)
        if verb == "scale" and name == "pair":
            self._replicas[name] = count
            self._tell(name, "scale", {"replicas": count})
        elif verb == "stop and start":
            self._tell(name, "stop")
            self._tell(name, "start")
        elif verb == "restart":
            self._tell(name, "restart")

    def pods(self) -> list[str]:
        """Pods that work now, for consoles."""
        found = [self._stage.patient(lambda id=id: self._show(id)) for id in self.ids.values()]  # type: ignore[misc]
        return [pod["id"] for service in found for pod in service["pods"] if pod["status"] == "running"]

    def troubles(self) -> list[str]:
        """How they are not as they should be, now."""
        found = []
        for name, id in self.ids.items():
            seen = self._show(id)
            ready, wanted = seen["readyReplicas"], self._replicas[name]
            if seen["status"] != "running" or ready != wanted or len(seen["pods"]) != wanted:
                pods = [(pod["id"], pod["status"], pod["health"], pod["error"]) for pod in seen["pods"]]
                found.append(f"{name} is {seen['status']} with {ready} of {wanted}: {pods}")
        return found or list(self._silent_endpoint())

    def wrong_logs(self, books: Reader) -> Iterator[str]:
        """Lines of every life that was ever heard of: from the first on, without gap, each once, in order."""
        lives = self.lives(books)
        for life, numbers in lives.items():
            if numbers[0] != 1 or any(after != before + 1 for before, after in pairwise(numbers)):
                places = [pair for pair in pairwise(numbers) if pair[1] != pair[0] + 1]
                yield f"the log of {life} begins with {numbers[0]} and breaks at {places[:3]}"

    def lost_lives(self, books: Reader) -> Iterator[str]:
        """The volume of the keeper forgets nothing: each life that wrote a line wrote itself into it before.

        One that was never heard to run is not looked for: its pod may go elsewhere.
        """
        known = self._get_lives().text.split()
        said = self.lives(books, only=self.ids["keeper"])
        yield from (f"the volume has lost {life}, of {len(said)} lives" for life in said if life not in known)

    def lives(self, books: Reader, only: str = "") -> dict[str, list[int]]:
        """The numbers that each life has written, as the requester has kept them."""
        found: dict[str, list[int]] = defaultdict(list)
        ids = [only] if only else list(self.ids.values())
        jobs = {job.id for job in books.find(Job) if job.service in ids}
        for lease in books.find(Lease, side="requester"):
            if lease.job in jobs and (lease.started_at or not only):
                for _, line in read_lines(books, lease.id):
                    life, number = line.text.split()
                    found[life].append(int(number))
        return found

    def _silent_endpoint(self) -> Iterator[str]:
        if "keeper" not in self.ids:
            return
        answer = self._get_lives()
        if answer.status_code != 200:
            yield f"the endpoint of the keeper answers {answer.status_code} {answer.text[:200]}"

    def _get_lives(self) -> httpx.Response:
        """Through the gateway; the name is only said, for no resolver has to know it."""
        url = httpx.URL(self._show(self.ids["keeper"])["endpoints"][0]["url"])
        return httpx.get(f"http://127.0.0.1:{url.port}/lives", headers={"Host": url.netloc.decode()}, timeout=10)

    def _show(self, id: str) -> Any:
        return self._stage.ask("GET", f"/v1/deployments/{id}")["deployment"]

    def _create(self, name: str, body: dict[str, Any]) -> Any:
        with self._stage.buyer() as buyer:
            return buyer.deploy(body, f"cycles-{name}")

    def _tell(self, name: str, verb: str, body: dict[str, Any] | None = None) -> None:
        path = f"/v1/deployments/{self.ids[name]}/{verb}"
        self._stage.patient(lambda: self._stage.ask("POST", path, **({"json": body} if body else {})))


def _keeper() -> dict[str, Any]:
    return {
        "name": "keeper",
        "customImage": "busybox",
        "command": ["sh", "-c", KEEPER],
        "ports": [8080],
        "probe": {"kind": "http", "path": "/lives", "interval": 1, "timeout": 5, "startPeriod": 20, "retries": 4},
        "volumes": [{"name": "data", "path": "/data", "size": "8Mi"}],
        "resources": {**SMALL, "disk": "4Mi"},
        "maxPricePerHour": "1",
    }


def _pair() -> dict[str, Any]:
    return {
        "name": "pair",
        "customImage": "busybox",
        "command": ["sh", "-c", PAIR],
        "replicas": 2,
        "egress": "web",
        "resources": SMALL,
        "maxPricePerHour": "1",
    }

"""Users of the requesters: jobs of every kind over HTTP, each under an Idempotency-Key until it is answered."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import httpx
from msgspec import Struct, field

from tests.e2e.killing.containers import MISSING, digest_of_files, output_of
from tests.e2e.killing.life import secret_of
from tests.e2e.killing.roles import Role
from tests.e2e.killing.world import World

KINDS = {"quick": 30, "slow": 15, "long": 5, "failing": 10, "missing": 10, "cancelled": 10, "files": 15, "cheap": 5}
"""What is asked for, by weight."""
ENDS = {
    "failing": {("failed", "EXIT_CODE")},
    "missing": {("failed", "IMAGE_NOT_FOUND")},
    "cancelled": {("cancelled", "CANCELLED"), ("success", "")},
}
"""How a job of a kind may end; all others succeed."""
SHARED = "the same for many jobs\n" * 60_000
"""More than one chunk."""


class Asked(Struct):
    """One job as its user knows it: every id that was ever answered under its key."""

    key: str
    kind: str
    role: Role
    body: dict[str, Any]
    ids: set[str] = field(default_factory=set)
    cancelled: bool = False
    """Whether the cancellation was acknowledged."""

    @property
    def id(self) -> str:
        """The acknowledged id, "" before."""
        return min(self.ids, default="")

    def ends(self) -> set[tuple[str, str]]:
        """The (status, code) pairs that are right for it."""
        return {("cancelled", "CANCELLED")} if self.cancelled else ENDS.get(self.kind, {("success", "")})

    def outputs(self) -> dict[str, bytes]:
        """The files that it must leave."""
        inputs = digest_of_files({item["path"]: item["text"].encode() for item in self.body.get("inputs", ())})
        return {path: output_of(path, inputs) for path in self.body.get("outputs", ())}


class Users:
    """All users of all nodes, and what they were told."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._http = httpx.AsyncClient(timeout=5, limits=httpx.Limits(max_keepalive_connections=0))
        self.asked: list[Asked] = []
        self.withdrawals: dict[str, list[dict[str, Any]]] = {}
        self.counts: Counter[str] = Counter()
        self.is_over = False

    async def shop(self, role: Role, number: int, think: float) -> None:
        """Ask for one job after the other until it is over, with up to `think` seconds between them."""
        rng = Random(f"{self._seed} {role.name} {number}")
        following: list[asyncio.Task[None]] = []
        while not self.is_over:
            (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
            asked = Asked(f"{role.name}-{number}-{len(self.asked)}", kind, role, {})
            asked.body = body_of(asked.key, kind, rng)
            self.asked.append(asked)
            await self._submit(asked, at_once=rng.random() < 0.1, again=rng.random() < 0.2)
            if kind == "cancelled":
                following.append(asyncio.create_task(self._cancel(asked, rng.random() * 0.8)))
            await asyncio.sleep(rng.random() * think)
        await asyncio.gather(*following)

    async def earn(self, role: Role, think: float) -> None:
        """Withdraw a provider's earnings now and then, each time under a key until it is answered."""
        answers = self.withdrawals.setdefault(role.name, [])
        number = 0
        while not self.is_over:
            await asyncio.sleep(think)
            number += 1
            answer = await self.ask(role, "POST", "/v1/wallet/withdraw", f"w{number}", {})
            if answer.status_code == 201:
                answers.append(answer.json())

    async def ask(
        self, role: Role, method: str, path: str, key: str = "", body: dict[str, Any] | None = None
    ) -> httpx.Response:
        """The first answer that is more than a broken connection or "later", however many lives that takes."""
        headers = {"X-API-Key": secret_of(role), **({"Idempotency-Key": key} if key else {})}
        while True:
            port = await self._world.port_of(role.name)
            try:
                url = f"http://127.0.0.1:{port}{path}"
                answer = await self._http.request(method, url, json=body, headers=headers)
            except httpx.TransportError:
                self.counts["broken connections"] += 1
                await asyncio.sleep(0.01)
                continue
            if answer.status_code not in (429, 503):
                return answer
            self.counts["later"] += 1
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        await self._http.aclose()

    async def _submit(self, asked: Asked, at_once: bool, again: bool) -> None:
        """Ask until there is an answer; at times twice at once, at times once more after the answer."""
        await asyncio.gather(*(self._submit_once(asked) for _ in range(2 if at_once else 1)))
        if again:
            await self._submit_once(asked)

    async def _submit_once(self, asked: Asked) -> None:
        answer = await self.ask(asked.role, "POST", "/v1/jobs", asked.key, asked.body)
        if answer.status_code != 201:
            self._world.violations.append(f"job {asked.key} was refused: {answer.status_code} {answer.text[:200]}")
            return
        self.counts["replayed"] += answer.headers.get("Idempotent-Replayed") == "true"
        asked.ids.add(answer.json()["id"])

    async def _cancel(self, asked: Asked, after: float) -> None:
        await asyncio.sleep(after)
        answer = await self.ask(asked.role, "POST", f"/v1/jobs/{asked.id}/cancel")
        asked.cancelled = answer.status_code == 200


def body_of(key: str, kind: str, rng: Random) -> dict[str, Any]:
    """What is posted for a job of this kind."""
    seconds = {"slow": 3 + 5 * rng.random(), "long": 11 + 4 * rng.random(), "cancelled": 4.0}.get(kind, 0.2)
    body: dict[str, Any] = {
        "image": MISSING if kind == "missing" else "busybox",
        "command": ["run", f"{seconds:.2f}", "3" if kind == "failing" else "0", str(rng.randrange(4))],
        "env": {"JOB": key},
        "resources": {"cpu": "0.5", "memory": "64Mi"},
        "maxPrice": "0.048" if kind == "cheap" else "0.5",
        "timeout": "60s",
        "orderTtl": "1h",
        "bidWindow": 100,
    }
    if kind == "files":
        own = {"path": "in/own", "text": f"{key} {rng.random()}\n" * 3000}
        body["inputs"] = [own, {"path": "in/shared", "text": SHARED if rng.random() < 0.3 else "small"}]
        body["outputs"] = ["result", "more/result"]
    return body

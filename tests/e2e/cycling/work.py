"""What users want of the market while it is killed, and what has to have come of it at the end."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from market.jobs import DONE, Job
from market.leases import Lease
from market.runs import DONE as RAN
from market.runs import Run
from node.actions.logs import next_line, read_lines
from node.ports import Reader
from tests.e2e.cycling.stage import Stage

KINDS = {"counting": 5, "files": 3, "fails with 3": 1, "ends with 137": 1, "flood": 2, "code": 5, "console": 2}
FLOOD = 20_000
MARK = "7777"
"""How long the commands sleep that are opened inside of pods: nobody else on this machine does so long."""


class Asked(Struct):
    """A job or a run that was acknowledged, and its right end."""

    kind: str
    id: str
    status: str
    exit_code: int
    lines: list[str]
    outputs: dict[str, bytes] = {}


class Users:
    """They ask for work of all kinds, and remember what they were promised."""

    def __init__(self, stage: Stage, rng: Random, speaks_python: bool) -> None:
        self._stage = stage
        self._rng = rng
        self._kinds = {kind: weight for kind, weight in KINDS.items() if speaks_python or kind != "code"}
        self._count = 0
        self.asked: list[Asked] = []
        self.counts: Counter[str] = Counter()

    def ask(self, pods: list[str]) -> None:
        """One more piece of work; the first answer is waited for, whoever is dead."""
        rng, self._count = self._rng, self._count + 1
        kind = rng.choices(list(self._kinds), list(self._kinds.values()))[0]
        size = rng.randint(1, 25)
        self.counts[kind] += 1
        if kind == "code":
            self.asked.append(self._code(self._count))
        elif kind == "console":
            self._open_console(pods[size % len(pods)] if pods else "")
        else:
            self.asked.append(self._job(kind, size))

    def forget(self) -> None:
        """What was looked at need not be looked at again."""
        self.asked.clear()

    def _job(self, kind: str, size: int) -> Asked:
        body, asked = _order(kind, size, self._count)
        key = f"cycles-{self._count}"
        job = self._stage.patient(lambda: self._submit(body, key))
        asked.id = job["id"]
        return asked

    def _submit(self, body: dict[str, Any], key: str) -> Any:
        with self._stage.buyer() as buyer:
            return buyer.submit(body, key)

    def _code(self, number: int) -> Asked:
        """A run has no key that makes it one: what is not acknowledged may run, and nobody waits for it."""
        body = {"language": "python", "code": f"import time\ntime.sleep(0.1)\nprint(6 * {number})"}
        answer = self._stage.patient(lambda: self._stage.ask("POST", "/api/v1/runner/submit", json=body))
        return Asked("code", answer["data"]["jobId"], "success", 0, [str(6 * number)])

    def _open_console(self, pod: str) -> None:
        """A command inside of a pod that its user leaves open and never comes back to."""
        if pod:
            threading.Thread(target=self._linger, args=(pod,), daemon=True).start()

    def _linger(self, pod: str) -> None:
        with contextlib.suppress(Exception), self._stage.buyer() as buyer:
            query = [("command", word) for word in ("sleep", f"{MARK}{self._count}")]
            with buyer.console(pod, query) as console:
                console.recv(timeout=5)


def _order(kind: str, size: int, number: int) -> tuple[dict[str, Any], Asked]:
    asked = Asked(kind, "", "success", 0, [])
    parts: dict[str, Any] = {}
    if kind == "files":
        text = f"input of {number}\n" * size
        script = "cat /input/given > /output/result; echo copied"
        parts = {"inputs": [{"path": "given", "text": text}], "outputs": ["result"]}
        asked.lines, asked.outputs = ["copied"], {"result": text.encode()}
    elif kind == "counting":
        script = f"for i in $(seq 1 {size}); do echo $i; sleep 0.2; done"
        asked.lines = [str(line) for line in range(1, size + 1)]
    elif kind == "flood":
        script = f"seq 1 {FLOOD}"
        asked.lines = [str(line) for line in range(1, FLOOD + 1)]
    else:
        asked.status, asked.exit_code = "failed", 3 if kind == "fails with 3" else 137
        script = f"echo over; exit {asked.exit_code}"
        asked.lines = ["over"]
    resources = {"cpu": 0.05, "memory": "16Mi", "disk": "4Mi"}
    body = {"image": "busybox", "command": ["sh", "-c", script], "resources": resources, "maxPrice": "1"}
    return {**body, **parts, "timeout": "5m", "orderTtl": "30m", "bidWindow": 200}, asked


def unfinished(asked: list[Asked], books: Reader) -> list[str]:
    """What has not come to any end yet."""
    found = []
    for one in asked:
        noun: Any = books.get(Run if one.kind == "code" else Job, one.id)
        if noun is None or noun.state not in (RAN if one.kind == "code" else DONE):
            found.append(f"{one.kind} {one.id}: {noun.state.value if noun else 'acknowledged, and not there'}")
        elif one.kind != "code" and (lines := _late(noun, books)):
            found.append(f"{one.kind} {one.id}: {lines}")
    return found


def _late(job: Job, books: Reader) -> str:
    """What is still on its way of a log: a requester that was away gets the rest when it is back."""
    lease = books.get(Lease, job.lease)
    told, here = (lease.receipt.log_lines if lease and lease.receipt else 0), next_line(books, job.lease)
    return f"{here} of {told} lines are here" if here < told else ""


def wrong_ends(asked: list[Asked], books: Reader, outages: list[tuple[int, int]]) -> Iterator[str]:
    """What came to another end than it should; a log may lack its last lines where the engine was away at the end."""
    for one in asked:
        if one.kind == "code":
            yield from _wrong_run(one, books.get(Run, one.id))
        else:
            yield from _wrong_job(one, books.get(Job, one.id), books, outages)


def _wrong_run(one: Asked, run: Run | None) -> Iterator[str]:
    said = [result.stdout.strip() for result in run.results] if run else []
    if run is None or run.state.value != one.status or said != one.lines:
        yield f"code {one.id}: {run.state.value if run else 'gone'} with {said} instead of {one.lines}; {run}"


def _wrong_job(one: Asked, job: Job | None, books: Reader, outages: list[tuple[int, int]]) -> Iterator[str]:
    if job is None:
        yield f"{one.kind} {one.id}: acknowledged, and not there"
        return
    if (job.state.value, job.exit_code) != (one.status, one.exit_code):
        yield (
            f"{one.kind} {one.id}: {job.state.value} with {job.exit_code} {job.code} ({job.message}) after "
            f"{job.attempt} attempts, instead of {one.status} with {one.exit_code}"
        )
        return
    lines = [line.text for _, line in read_lines(books, job.lease)]
    is_cut = any(began <= job.finished_at <= ended for began, ended in outages)
    if lines != one.lines and not (is_cut and lines == one.lines[: len(lines)]):
        yield f"{one.kind} {one.id}: {len(lines)} lines instead of {len(one.lines)}: {_first(lines, one.lines)}"


def wrong_results(asked: list[Asked], stage: Stage) -> Iterator[str]:
    """Output files with other bytes than they should have."""
    with stage.buyer() as buyer:
        for one in asked:
            for path, content in one.outputs.items():
                found = buyer.download(one.id, path)
                if found != content:
                    yield f"{one.kind} {one.id}: {len(found)} bytes in {path} instead of {len(content)}"


def _first(lines: list[str], wanted: list[str]) -> str:
    """Where they part."""
    place = next((at for at, pair in enumerate(zip(lines, wanted, strict=False)) if pair[0] != pair[1]), -1)
    shown = lines[max(0, place - 1) : place + 3] if place >= 0 else lines[-3:]
    return f"from {place}: {msgspec.json.encode(shown).decode()[:300]}"

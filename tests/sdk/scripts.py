"""A node by script, and worlds that tests of both clients need."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
from msgspec.structs import replace

from market.dialogue import RunEnd
from market.jobs import Job
from market.runs import Run, RunState
from node.ports import LogLine
from node.records import Account, Invoice
from tests.builders import NOW
from tests.node.api.fakes import ALICE, FakeJobs, FakeRunner, World, a_done_job, a_job

Answer = Callable[[httpx.Request], httpx.Response]
DONE = "job_0000000000000001"
MANY = 250


def says(status: int, body: Any = None, **headers: str) -> Answer:
    """Always this JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: httpx.Response(status, content=json.dumps(body), headers=named)


def refuses(status: int, code: str, **headers: str) -> Answer:
    """Always this refusal, in the native shape."""
    return says(status, {"error": {"code": code, "message": "no", "details": {}}, "requestId": "req_1"}, **headers)


def unreachable(request: httpx.Request) -> httpx.Response:
    """Nobody there: the request never left."""
    raise httpx.ConnectError("connection refused", request=request)


def breaks(request: httpx.Request) -> httpx.Response:
    """The request left, and no answer came."""
    raise httpx.ReadError("connection reset", request=request)


def streams(*chunks: bytes, then: Exception | None = None) -> Answer:
    """A stream of events in these pieces, which may break."""
    return lambda request: httpx.Response(
        200, stream=Pieces(chunks, then), headers={"content-type": "text/event-stream"}
    )


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces, which may end in an error."""

    def __init__(self, chunks: Sequence[bytes], then: Exception | None) -> None:
        self._chunks = chunks
        self._then = then

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._then is not None:
            raise self._then


class Script(httpx.MockTransport):
    """Answers in turn, the last one for ever; what was asked is in `requests`."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(self._next)
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def headers(self, name: str) -> list[str]:
        """Of each request."""
        return [request.headers.get(name, "") for request in self.requests]

    def _next(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(request)


class Losing(httpx.BaseTransport):
    """Real connections, whose first answers are lost: the node does its work and nobody hears of it."""

    def __init__(self, lost: int = 1) -> None:
        self.sent = 0
        self._lost = lost
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        answer = self._real.handle_request(request)
        if self.sent <= self._lost:
            answer.read()
            raise httpx.ReadError("connection reset", request=request)
        return answer

    def close(self) -> None:
        self._real.close()


class Cutting(httpx.BaseTransport):
    """Real connections, of which each but the last is cut after so many bytes of an answer."""

    def __init__(self, *cuts: int) -> None:
        self.places: list[str] = []
        self._cuts = list(cuts)
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.places.append(request.headers.get("last-event-id", ""))
        answer = self._real.handle_request(request)
        if not self._cuts:
            return answer
        content, cut = answer.read(), self._cuts.pop(0)
        return httpx.Response(200, stream=Pieces((content[:cut],), httpx.ReadError("cut", request=request)))

    def close(self) -> None:
        self._real.close()


class EndingJobs(FakeJobs):
    """Jobs that say Hello, and end when somebody waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [LogLine(at=NOW, stream="stdout", text="Hello")]

    async def wait(self, account: Account, id: str, seconds: float) -> Job:
        return self.put(a_done_job(id=self.get(account, id).id))


class EndingRunner(FakeRunner):
    """Code that has printed 42 at once."""

    def put(self, run: Run) -> Run:
        result = RunEnd(stdout="42\n", milliseconds=3)
        return super().put(replace(run, state=RunState.SUCCEEDED, finished_at=NOW + 9, results=(result,)))


def with_fakes(world: World, **fakes: Any) -> World:
    """The world with these actions instead of its own."""
    for name, fake in fakes.items():
        setattr(world, name, fake)
        object.__setattr__(world.services, name, fake)
    return world


def with_lines(world: World, *texts: str) -> World:
    """A job that has ended and said these lines."""
    world.jobs.put(a_done_job())
    world.jobs.lines = [LogLine(at=NOW + number, stream="stdout", text=text) for number, text in enumerate(texts)]
    return world


def with_many_jobs(world: World, count: int = MANY) -> World:
    """So many jobs, made one after the other."""
    for number in range(count):
        world.jobs.put(a_job(id=f"job_{number:016d}", created_at=NOW + number))
    return world


def with_invoice(world: World) -> World:
    """A month of Alice's that is over."""
    fields = {"seconds": 3600, "storage": 0, "runs": 2, "credits": 2, "due_at": NOW, "created_at": NOW}
    world.storage.put(Invoice(id="inv_1", account=ALICE.id, period="2025-01", amount=1_500_000, **fields))  # type: ignore[arg-type]
    return world

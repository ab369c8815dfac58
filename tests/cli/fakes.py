"""A node behind httpx.MockTransport: answers by method and path, requests in a list."""

import json
from collections.abc import Callable
from typing import Any

import httpx

Answer = Callable[[httpx.Request], httpx.Response]


def ok(value: Any, status: int = 200) -> Answer:
    """Always this JSON."""
    return lambda request: httpx.Response(status, json=value)


def problem(status: int, code: str, said: str = "no", **details: Any) -> Answer:
    """Always this refusal."""
    error = {"code": code, "message": said, "details": details}
    return lambda request: httpx.Response(status, json={"status": status, "detail": said, "error": error})


def in_turn(*answers: Answer) -> Answer:
    """One after the other; the last one stays."""
    left = list(answers)
    return lambda request: (left.pop(0) if len(left) > 1 else left[0])(request)


def broken(request: httpx.Request) -> httpx.Response:
    """A connection that breaks."""
    raise httpx.ConnectError("connection refused")


class FakeNode:
    """Say what `routes["GET /v1/jobs"]` answers; what was asked is in `requests`."""

    def __init__(self, **routes: Answer) -> None:
        self.routes: dict[str, Answer] = dict(routes)
        self.requests: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.routes.get(f"{request.method} {request.url.path}")
        return answer(request) if answer else problem(404, "NOT_FOUND", "no such thing")(request)

    def body(self, at: int = -1) -> Any:
        """The JSON of a request."""
        return json.loads(self.requests[at].content)


JOB: dict[str, Any] = {
    "id": "job_1",
    "kind": "image",
    "status": "pending",
    "phase": "pending",
    "progress": 0,
    "image": "busybox",
    "command": ["echo", "hi"],
    "provider": None,
    "attempt": 1,
    "createdAt": "2026-01-15T12:00:00.000Z",
    "startedAt": None,
    "finishedAt": None,
    "exitCode": None,
    "maxPrice": "1.0",
    "pricePerSecond": None,
    "seconds": 0,
    "cost": "0.0",
    "paid": "0.0",
    "currency": "TUSD",
    "error": None,
    "reasons": [],
}
RUNNING = JOB | {"status": "running", "phase": "running", "provider": "prov_" + "ab" * 20, "pricePerSecond": "0.000001"}
DONE = RUNNING | {
    "status": "success",
    "phase": "success",
    "finishedAt": "2026-01-15T12:00:03.000Z",
    "exitCode": 0,
    "seconds": 3,
    "cost": "0.000003",
    "paid": "0.000003",
}
FAILED = DONE | {
    "status": "failed",
    "phase": "failed",
    "exitCode": 3,
    "error": {"code": "EXIT_CODE", "message": "exit code 3"},
}


DEPLOYMENT: dict[str, Any] = {
    "id": "dep_1",
    "name": "web",
    "status": "pending",
    "image": "nginx:1",
    "command": [],
    "endpoints": [],
    "replicas": 2,
    "readyReplicas": 0,
    "pods": [],
    "cost": "0.0",
    "currency": "TUSD",
    "maxPricePerHour": "0.5",
    "error": None,
    "createdAt": "2026-01-15T12:00:00.000Z",
    "startedAt": None,
}


def events(*parts: tuple[str, str, Any]) -> Answer:
    """A stream of (id, event, data)."""
    text = "retry: 1000\n\n" + "".join(
        (f"id: {id}\n" if id else "") + f"event: {event}\ndata: {json.dumps(data)}\n\n" for id, event, data in parts
    )
    return lambda request: httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


def line(text: str) -> dict[str, str]:
    """A log record."""
    return {"timestamp": "t", "stream": "stdout", "level": "info", "message": text}

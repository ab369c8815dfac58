"""An engine in need is asked again to remove a container."""

import asyncio
from http import HTTPStatus
from typing import Any

import pytest
import requests
from docker.errors import APIError

from market.errors import Conflict, NeugridError, NotFound, Unavailable
from node.adapters.docker_engine import calls
from node.adapters.docker_engine.calls import Engine

BUSY, UNDER_WAY, GONE = HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND


class Client:
    """Answers each request with the next of `statuses`, and well when there are no more."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[str] = []

    def remove_container(self, name: str, **_: Any) -> None:
        self.asked.append(name)
        if self.statuses:
            answer = requests.Response()
            answer.status_code = self.statuses.pop(0)
            raise APIError("no", response=answer, explanation="tried to kill container, but no exit event came")


@pytest.mark.parametrize(
    ("statuses", "asked", "error"),
    [
        ((), 1, None),
        ((BUSY, BUSY), 3, None),
        ((UNDER_WAY, GONE), 2, NotFound),
        ((BUSY,) * 3, 3, Unavailable),
        ((UNDER_WAY,) * 3, 3, Conflict),
    ],
)
def test_it_is_asked_three_times(
    statuses: tuple[int, ...], asked: int, error: type[NeugridError] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        engine, client = Engine(), Client(*statuses)
        monkeypatch.setattr(engine, "client", lambda: client)
        if error is None:
            await engine.remove("job-a1")
        else:
            with pytest.raises(error):
                await engine.remove("job-a1")
        assert client.asked == ["job-a1"] * asked

    monkeypatch.setattr(calls, "REMOVAL_PAUSES", (0.0, 0.0))
    asyncio.run(play())


def test_an_engine_that_is_away_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        engine, asked = Engine(), []

        def client() -> Any:
            asked.append(1)
            raise requests.ConnectionError("refused")

        monkeypatch.setattr(engine, "client", client)
        with pytest.raises(Unavailable):
            await engine.remove("job-a1")
        assert asked == [1]

    asyncio.run(play())

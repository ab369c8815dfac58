"""An engine in need is asked again to remove a container, and may hear late of the end of what it killed."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError

from market.errors import Conflict, NeugridError, NotFound, Unavailable
from node.adapters.clock import SystemClock
from node.adapters.docker_engine import calls, watch
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.docker_engine.witness import Witness
from node.adapters.runtime import DockerRuntime

BUSY, UNDER_WAY, GONE = HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND


class Client:
    """Answers each request with the next of `statuses`, and well when there are no more."""

    base_url, api_version = "http://engine", "1.41"

    def __init__(self, *statuses: int, share: int = 10**9) -> None:
        self.statuses = list(statuses)
        self.share = share
        self.asked: list[str] = []
        self.told: list[tuple[str, dict[str, int]]] = []

    def inspect_container(self, name: str) -> dict[str, Any]:
        return {"HostConfig": {"NanoCpus": self.share}}

    def post(self, where: str, json: dict[str, int], **_: Any) -> requests.Response:
        self.told.append((where, json))
        self.share = json["NanoCpus"]
        answer = requests.Response()
        answer.status_code = HTTPStatus.OK
        return answer

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


@pytest.mark.parametrize(("share", "is_raised"), [(10**8, True), (10**9, False), (4 * 10**9, False), (0, False)])
def test_what_takes_long_to_die_has_a_core_for_it(share: int, is_raised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        engine, client = Engine(), Client(BUSY, BUSY, share=share)
        monkeypatch.setattr(engine, "client", lambda: client)
        await engine.remove("job-a1")
        told = ("http://engine/v1.41/containers/job-a1/update", {"NanoCpus": 10**9})
        assert client.told == [told] * is_raised

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


class Ends:
    """Tells of the end of whatever is asked for: at once, or never."""

    def __init__(self, *, is_told: bool) -> None:
        self.is_told = is_told

    def change_of(self, name: str) -> asyncio.Event:
        change = asyncio.Event()
        if self.is_told:
            change.set()
        return change


@pytest.mark.parametrize(("kills", "looks", "reason"), [(2, 2, "oom"), (1, 1, "exited")])
def test_a_child_that_was_killed_for_memory_is_told_late_of_and_no_success(
    kills: int, looks: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where the machine had a memory kill meanwhile: others need not wait for their end."""

    async def play() -> None:
        runtime, seen = DockerRuntime(RuntimeSettings(node="n", folder=tmp_path), SystemClock()), []
        file = tmp_path / "vmstat"
        file.write_text("oom_kill 1\n")
        runtime._watch._witness = Witness(file)
        runtime._watch.starting("job-a1")
        file.write_text(f"oom_kill {kills}\n")

        async def inspect(name: str) -> dict[str, Any]:
            seen.append(name)
            times = {"StartedAt": "2025-06-15T15:06:40Z", "FinishedAt": "2025-06-15T15:06:41Z"}
            state = {"Status": "exited", "ExitCode": 0, "OOMKilled": len(seen) > 1, **times}
            return {"State": state, "Config": {"Labels": {}}}

        monkeypatch.setattr(runtime, "_inspect", inspect)
        end = await runtime._exit("job-a1", await inspect("job-a1"))
        assert end is not None
        assert (end.reason, end.code, len(seen)) == (reason, 0, looks)

    monkeypatch.setattr(watch, "LATE_OOM", 0.02)
    monkeypatch.setattr(watch, "LISTEN", 0.01)
    monkeypatch.setattr(watch.Watch, "_listen", lambda _: None)
    asyncio.run(play())


@pytest.mark.parametrize("is_told", [True, False])
def test_a_kill_whose_end_the_engine_has_not_heard_of_is_waited_for(
    is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        runtime = DockerRuntime(RuntimeSettings(node="n", folder=tmp_path), SystemClock())

        async def call(_: object) -> None:
            raise calls.Failed("tried to kill container, but did not receive an exit event")

        monkeypatch.setattr(runtime._engine, "call", call)
        monkeypatch.setattr(runtime, "_watch", Ends(is_told=is_told))
        if is_told:
            await runtime.stop("job-a1", grace=0)
        else:
            with pytest.raises(Unavailable, match="exit event"):
                await runtime.stop("job-a1", grace=0)

    asyncio.run(play())

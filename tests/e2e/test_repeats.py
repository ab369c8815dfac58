"""A thousand clients send the same request under the same key at once, over real sockets: it is done once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from market.jobs import Job
from market.runs import Run
from node.api import heads
from node.descriptors import allow_many_files
from tests.fuzz.people import Body, Cast, a_job, some_code
from tests.fuzz.stage import House, Stage

TIMES = 1000


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Stage, dict[str, str]]]:
    """Where a node on SQLite is served, the node, and the headers of a user with money.

    A thousand clients in one loop are slow ones, each by itself.
    """
    monkeypatch.setattr(heads, "HEAD_WITHIN", 120.0)
    allow_many_files()
    house = House()
    stage, operator = house.open(tmp_path)
    cast = Cast(house, stage, operator)
    cast.sign_up("alice")
    yield house.url, stage, cast.headers["alice signed in"]
    cast.close()
    house.end(stage)
    house.close()


async def all_at_once(url: str, headers: dict[str, str], body: Body) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=TIMES)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=300) as client:
        return await asyncio.gather(*(client.post(url, json=body) for _ in range(TIMES)))


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("path", "body", "noun", "status"),
    [("/v1/jobs", a_job(), Job, 201), ("/api/v1/runner/submit", some_code(), Run, 200)],
    ids=["a job", "a run of code"],
)
def test_a_thousand_repeats_at_once_are_one_and_are_told_the_same(
    stage: tuple[str, Stage, dict[str, str]], path: str, body: Body, noun: Any, status: int
) -> None:
    url, node, headers = stage
    before = node.storage.count(noun)
    answers = asyncio.run(all_at_once(f"{url}{path}", {**headers, "Idempotency-Key": "once"}, body))
    assert {answer.status_code for answer in answers} == {status}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert node.storage.count(noun) - before == 1

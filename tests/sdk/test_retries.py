"""When requests are sent again: programs carried out by hand, and clients on a node by script."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neugrid_sdk import AsyncClient, Client, Conflict, NeugridError, NoAnswer, RateLimited, Retries, Unavailable
from neugrid_sdk.effects import Answer, Draw, Request, Send, Sleep
from neugrid_sdk.requests import get, paid, post
from neugrid_sdk.retries import sent
from tests.sdk.scripts import Answer as Reply
from tests.sdk.scripts import Script, breaks, refuses, says, unreachable

HEALTHY = says(200, {"status": "ok", "uptime": 1})
JOB_BODY = {"image": "busybox", "max_price": 1}
REQUEST = get("/v1/health")
LIMITED = Answer(status=429, headers={"retry-after": "7"})
OK = Answer(status=200, content=b"{}")


def naps(*answers: Answer | NoAnswer, request: Request = REQUEST, draw: float = 0.0) -> list[float]:
    """How long a program sleeps between these answers; the last one is what it must end with."""
    program, left, slept = sent(request, Retries()), list(answers), []
    outcome: Any = None
    while True:
        try:
            effect = program.throw(outcome) if isinstance(outcome, NoAnswer) else program.send(outcome)
        except StopIteration as end:
            result = end.value
            break
        outcome = left.pop(0) if isinstance(effect, Send) else draw if isinstance(effect, Draw) else None
        slept += [effect.seconds] if isinstance(effect, Sleep) else []
    assert (result, left) == (answers[-1], [])
    return slept


@pytest.fixture
def slept() -> list[float]:
    return []


def a_client(script: Script, slept: list[float], **settings: Any) -> Client:
    client = Client("key", "http://node", transport=script, **settings)
    client._driver.sleep = slept.append
    return client


def test_pauses_double_and_chance_halves_them() -> None:
    lost = NoAnswer("lost")
    assert naps(lost, lost, lost, lost, OK, draw=1.0) == [0.25, 0.5, 1.0, 2.0]
    assert naps(lost, lost, OK, draw=0.0) == [0.125, 0.25]


@given(failures=st.integers(1, 10_000), draw=st.floats(0, 1), longest=st.floats(0.1, 100))
def test_no_pause_is_longer_than_the_longest(failures: int, draw: float, longest: float) -> None:
    pause = Retries(longest=longest).pause(failures, draw)
    assert min(longest, 0.25) / 2 <= pause <= longest


def test_what_the_node_asks_for_is_waited_for_in_full() -> None:
    assert naps(LIMITED, OK, draw=1.0) == [7.25]
    dated = {"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert naps(Answer(status=503, headers=dated), OK, draw=1.0) == [9.25]
    assert naps(Answer(status=503, headers={"retry-after": "soon"}), OK, draw=1.0) == [0.25]


def test_a_pause_beyond_all_patience_is_an_error_at_once(slept: list[float]) -> None:
    script = Script(refuses(429, "RATE_LIMITED", retry_after="86400"))
    with a_client(script, slept) as client, pytest.raises(RateLimited) as caught:
        client.health()
    assert (caught.value.retry_after, len(script.requests), slept) == (86400, 1, [])


@pytest.mark.parametrize("trouble", [unreachable, breaks, refuses(503, "SERVICE_UNAVAILABLE"), says(502), says(504)])
def test_looking_is_repeated_after_any_trouble(trouble: Reply, slept: list[float]) -> None:
    script = Script(trouble, trouble, HEALTHY)
    with a_client(script, slept) as client:
        assert client.health().status == "ok"
    assert (len(script.requests), len(slept)) == (3, 2)


def test_after_the_last_try_the_error_stands(slept: list[float]) -> None:
    for trouble, kind in ((unreachable, NoAnswer), (refuses(503, "SERVICE_UNAVAILABLE"), Unavailable)):
        script = Script(trouble)
        with a_client(script, slept, retries=Retries(count=2)) as client, pytest.raises(kind):
            client.health()
        assert len(script.requests) == 3


def test_one_key_goes_with_all_tries_of_a_call_and_a_new_one_with_the_next(slept: list[float]) -> None:
    script = Script(breaks, refuses(503, "SERVICE_UNAVAILABLE"), refuses(400, "INVALID_PARAMETERS"))
    with a_client(script, slept) as client:
        for _ in range(2):
            with pytest.raises(NeugridError):
                client.jobs.submit(**JOB_BODY)
    keys = script.headers("idempotency-key")
    assert (len(keys), len(set(keys[:3])), len(set(keys)), min(map(len, keys))) == (4, 1, 2, 32)


def calls(client: Client) -> Iterator[Any]:
    """All calls that cost money."""
    yield client.jobs.submit
    yield client.deployments.create
    yield client.agents.create
    yield client.wallet.withdraw
    yield client.wallet.refund
    yield lambda: client.deployments.restart("dep_1")
    yield lambda: client.agents.restart("agt_1")
    yield lambda: client.runner.submit("1", "python")


def test_every_call_that_costs_money_has_a_key(slept: list[float]) -> None:
    script = Script(refuses(400, "INVALID_PARAMETERS"))
    with a_client(script, slept) as client:
        for call in calls(client):
            with pytest.raises(NeugridError):
                call()
    assert (len(script.requests), len(set(script.headers("idempotency-key")))) == (8, 8)


def test_what_would_be_done_twice_is_not_sent_twice(slept: list[float]) -> None:
    for act in (
        lambda client: client.keys.create("ci"),
        lambda client: client.webhooks.create("https://hooks.example/"),
        lambda client: client.jobs.cancel("job_1"),
        lambda client: client.projects.delete("prj_1"),
        lambda client: client.runner.run("1", "python"),
    ):
        script = Script(breaks)
        with a_client(script, slept) as client, pytest.raises(NoAnswer) as caught:
            act(client)
        assert (len(script.requests), caught.value.was_sent) == (1, True)


def test_what_never_left_is_sent_again_whatever_it_is(slept: list[float]) -> None:
    script = Script(unreachable, says(201, {"id": "key_1", "name": "ci", "createdAt": "2026-01-01T00:00:00Z"}))
    with a_client(script, slept) as client, pytest.raises(NeugridError, match="expiresAt"):
        client.keys.create("ci")
    assert len(script.requests) == 2


def test_a_first_try_that_is_still_on_its_way_is_waited_for() -> None:
    busy, key = Answer(status=409), paid("/v1/jobs", {}, "k")
    assert len(naps(Answer(status=409, headers={"retry-after": "1"}), OK, request=key)) == 1
    assert len(naps(NoAnswer("lost"), busy, OK, request=key)) == 2
    for request in (key, post("/v1/jobs/x/cancel")):
        with pytest.raises(Conflict):
            naps(busy, request=request)


def test_a_refusal_is_no_trouble(slept: list[float]) -> None:
    for status, code in ((400, "INVALID_PARAMETERS"), (402, "INSUFFICIENT_FUNDS"), (500, "INTERNAL_ERROR")):
        script = Script(refuses(status, code))
        with a_client(script, slept) as client, pytest.raises(NeugridError):
            client.jobs.submit(**JOB_BODY)
        assert len(script.requests) == 1


def test_a_long_poll_may_take_its_time(slept: list[float]) -> None:
    script = Script(refuses(404, "NOT_FOUND"))
    with a_client(script, slept, timeout=5) as client, pytest.raises(NeugridError):
        client.jobs.wait("job_1", timeout=20)
    wait, read = float(script.requests[0].url.params["wait"]), script.requests[0].extensions["timeout"]["read"]
    assert 10 < wait <= 20
    assert read == pytest.approx(wait + 5, abs=0.01)
    assert script.requests[0].extensions["timeout"]["connect"] == 5


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    script = Script(unreachable, refuses(429, "RATE_LIMITED", retry_after="3"), HEALTHY)
    async with AsyncClient("key", "http://node", transport=script) as client:
        client._driver.sleep = sleep
        assert (await client.health()).status == "ok"
    assert (len(slept), slept[1] >= 3) == (2, True)


def test_a_redirect_is_no_answer_of_a_node(slept: list[float]) -> None:
    script = Script(lambda request: httpx.Response(302, headers={"location": "http://elsewhere/"}))
    with a_client(script, slept) as client, pytest.raises(NeugridError, match="is this a node"):
        client.health()
    assert len(script.requests) == 1

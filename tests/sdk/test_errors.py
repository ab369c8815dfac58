"""Errors: one exception a code, from each shape in which the API refuses."""

import json
from typing import Any

import httpx
import pytest

import neugrid_sdk
from neugrid_sdk import (
    AsyncClient,
    BadAnswer,
    Client,
    Conflict,
    Forbidden,
    InvalidParameters,
    InvalidTransition,
    NeugridError,
    NotFound,
    PeerUnreachable,
    QuotaExceeded,
    RateLimited,
    Unavailable,
)
from neugrid_sdk.effects import Answer
from neugrid_sdk.errors import KINDS, error_in
from node.api.envelopes import LOWER_CODES
from node.api.errors import STATUS
from node.ports import Window
from tests.node.api.fakes import KEY, World
from tests.sdk.scripts import Script, says

ENVELOPES = ["nested", "flat", "lower"]


def refusal(status: int, code: str, envelope: str = "nested") -> NeugridError:
    """The error that a client makes of this refusal."""
    facts: dict[str, Any] = {"details": {"field": "f"}}
    if envelope == "flat":
        body = {"error": "why", "code": code, "status": status, "requestId": "req_1", **facts}
    else:
        spelled = LOWER_CODES.get(code, code.lower()) if envelope == "lower" else code
        body = {"status": status, "requestId": "req_1", "error": {"code": spelled, "message": "why", **facts}}
    return error_in(Answer(status=status, content=json.dumps(body).encode()))


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("code", STATUS)
def test_every_code_of_the_api_has_its_exception_in_every_envelope(code: str, envelope: str) -> None:
    error = refusal(STATUS[code], code, envelope)
    expected = "CONFLICT" if (code, envelope) == ("INVALID_TRANSITION", "lower") else code
    assert type(error) is KINDS[expected]
    assert (error.code, error.status, error.message, error.details) == (expected, STATUS[code], "why", {"field": "f"})
    assert error.request_id == "req_1"


def test_every_exception_is_exported_and_in_one_tree() -> None:
    for kind in KINDS.values():
        assert getattr(neugrid_sdk, kind.__name__) is kind
        assert issubclass(kind, NeugridError)
    assert issubclass(QuotaExceeded, Forbidden)
    assert issubclass(InvalidTransition, Conflict)
    assert issubclass(PeerUnreachable, Unavailable)


def test_a_code_that_is_not_known_is_told_by_its_status() -> None:
    error = refusal(404, "NO_SUCH_MOON")
    assert (type(error), error.code) == (NotFound, "NO_SUCH_MOON")
    assert type(refusal(418, "TEAPOT")) is NeugridError


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null", b'{"error":7}', b"\xff", b"[" * 100_000])
def test_what_is_no_refusal_of_a_node_is_an_error_all_the_same(content: bytes) -> None:
    assert isinstance(error_in(Answer(status=502, content=content)), Unavailable)
    assert isinstance(error_in(Answer(status=302, content=content)), BadAnswer)
    assert isinstance(error_in(Answer(status=404, content=content, headers={"x-request-id": "r"})), NotFound)


@pytest.mark.parametrize("body", [{"status": "ok"}, {"status": 1, "uptime": 1}, [], None])
def test_an_answer_of_another_shape_is_a_bad_one(body: Any) -> None:
    with Client("key", "http://node", transport=Script(says(200, body))) as client, pytest.raises(BadAnswer):
        client.health()


def test_fields_of_newer_nodes_are_passed_over() -> None:
    script = Script(says(200, {"status": "ok", "uptime": 1, "moon": {"phase": 3}}))
    with Client("key", "http://node", transport=script) as client:
        assert client.health().uptime == 1


@pytest.mark.anyio
async def test_the_real_refusals_of_all_three_shapes(aclient: AsyncClient) -> None:
    for look in (aclient.jobs.get, aclient.pods.get, aclient.agents.get, aclient.projects.get):
        with pytest.raises(NotFound) as caught:
            await look("nothing")
        assert (caught.value.code, caught.value.status) == ("NOT_FOUND", 404)
        assert caught.value.request_id.startswith("req_")
    with pytest.raises(InvalidParameters) as unfit:
        await aclient.jobs.submit(image="busybox", max_price="free")
    assert unfit.value.details["field"] == "max_price", "as it was sent"
    with pytest.raises(InvalidParameters) as lower:
        await aclient.agents.list(sort="secret").page()
    assert (lower.value.code, lower.value.details["field"]) == ("INVALID_PARAMETERS", "sort")


@pytest.mark.anyio
async def test_too_many_requests_are_told_with_the_time_to_wait() -> None:
    world = World(limits={"free": {"general": (Window(1, 60),)}})
    async with AsyncClient(KEY, "http://node", transport=httpx.ASGITransport(app=world.app)) as client:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        client._driver.sleep = sleep
        await client.jobs.list().page()
        with pytest.raises(RateLimited) as caught:
            await client.jobs.list().page()
    assert (caught.value.retry_after, caught.value.details["limit"]) == (60, 1)
    assert len(slept) == 4
    assert min(slept) >= 60


@pytest.mark.parametrize("url", ["", "node", "ftp://node", "http://", "http://user:secret@node", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameters, match="base_url") as caught:
        Client("key", url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "with space", "with\nbreak", "ключ"])
def test_a_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        Client(token)
    assert not token or token not in str(caught.value)

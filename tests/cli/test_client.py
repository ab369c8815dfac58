"""The client: errors by code, safe retries, pages, streams."""

from pathlib import Path

import httpx
import pytest

from cli.client import Client
from market.errors import Conflict, InsufficientFunds, NeugridError, NotFound, RateLimited, Unavailable
from tests.cli.fakes import DONE, JOB, FakeNode, broken, events, in_turn, line, ok, problem


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    monkeypatch.setattr("cli.wire.time.sleep", lambda seconds: None)
    return FakeNode()


@pytest.fixture
def client(node: FakeNode) -> Client:
    return Client("http://node/", "ng_live_key", transport=node.transport)


def test_the_key_goes_with_every_request(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/health"] = ok({"status": "ok"})
    client.health()
    assert node.requests[0].headers["x-api-key"] == "ng_live_key"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (402, "INSUFFICIENT_FUNDS", InsufficientFunds),
        (404, "NOT_FOUND", NotFound),
        (409, "CONFLICT", Conflict),
        (500, "INTERNAL_ERROR", NeugridError),
        (418, "TEAPOT", NeugridError),
    ],
)
def test_errors_come_back_by_their_code(
    client: Client, node: FakeNode, status: int, code: str, kind: type[NeugridError]
) -> None:
    node.routes["GET /v1/jobs/j"] = problem(status, code, "why", needed=5, message="m")
    with pytest.raises(kind, match="why") as caught:
        client.job("j")
    assert (caught.value.code, caught.value.details["needed"]) == (code, 5)


def test_an_answer_that_is_no_envelope_is_no_node(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/j"] = lambda request: httpx.Response(502, text="<html>")
    with pytest.raises(Unavailable, match="without a reason"):
        client.job("j")


def test_a_job_is_sent_again_under_one_key(client: Client, node: FakeNode) -> None:
    node.routes["POST /v1/jobs"] = in_turn(broken, problem(503, "SERVICE_UNAVAILABLE"), ok(JOB, 201))
    assert client.submit({"image": "a"})["id"] == "job_1"
    assert len({request.headers["idempotency-key"] for request in node.requests}) == 1
    assert len(node.requests) == 3


def test_what_must_not_be_repeated_is_asked_once(client: Client, node: FakeNode) -> None:
    node.routes["POST /v1/keys"] = broken
    with pytest.raises(Unavailable):
        client.create_key("a")
    assert len(node.requests) == 1


def test_a_long_pause_is_not_waited_for(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/j"] = lambda request: httpx.Response(
        429, json={"error": {"code": "RATE_LIMITED", "message": "slow"}}, headers={"retry-after": "60"}
    )
    with pytest.raises(RateLimited):
        client.job("j")
    assert len(node.requests) == 1


def test_nobody_there_is_one_sentence(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/health"] = broken
    with pytest.raises(Unavailable, match="no node answers at http://node: connection refused"):
        client.health()


def test_lists_are_read_to_their_limit(client: Client, node: FakeNode) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        size, start = int(request.url.params["limit"]), int(request.url.params.get("cursor", "0"))
        jobs = [JOB | {"id": f"job_{number}"} for number in range(start, start + size)]
        return httpx.Response(200, json={"jobs": jobs, "pagination": {"nextCursor": str(start + size)}})

    node.routes["GET /v1/jobs"] = page
    found = client.jobs(limit=250)
    assert [job["id"] for job in found] == [f"job_{number}" for number in range(250)]
    assert [request.url.params["limit"] for request in node.requests] == ["100", "100", "50"]


def test_a_broken_stream_goes_on_behind_the_last_line(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/j/logs"] = in_turn(
        events(("0", "log", line("a")), ("1", "log", line("b"))),
        broken,
        events(("2", "log", line("c")), ("", "end", {"status": "success"})),
    )
    assert [record["message"] for record in client.follow("j")] == ["a", "b", "c"]
    assert [request.headers.get("last-event-id") for request in node.requests] == [None, "1", "1"]


def test_an_error_inside_a_stream_is_raised(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/j/logs"] = events(("", "error", {"code": "NOT_FOUND", "message": "gone"}))
    with pytest.raises(NotFound, match="gone"):
        list(client.follow("j"))


def test_a_stream_that_never_ends_well_is_given_up(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/j/events"] = broken
    with pytest.raises(Unavailable):
        list(client.events("j"))


def test_waiting_asks_again_until_the_end(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/jobs/j"] = in_turn(ok(JOB), ok(JOB), ok(DONE))
    assert client.wait("j", 300)["status"] == "success"
    assert float(node.requests[0].url.params["wait"]) == 60


def test_ids_and_paths_can_not_leave_their_place(client: Client, node: FakeNode) -> None:
    with pytest.raises(NotFound):
        client.job("../wallet/balance")
    assert node.requests[0].url.raw_path == b"/v1/jobs/..%2Fwallet%2Fbalance"


def test_a_result_lands_on_the_disk(client: Client, node: FakeNode, tmp_path: Path) -> None:
    node.routes["GET /v1/jobs/j/results/a/b.txt"] = lambda request: httpx.Response(200, content=b"text")
    client.download_to("j", "a/b.txt", tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_bytes() == client.download("j", "a/b.txt") == b"text"


def test_readiness_is_a_yes_or_no(client: Client, node: FakeNode) -> None:
    node.routes["GET /v1/ready"] = in_turn(broken, problem(503, "SERVICE_UNAVAILABLE"), ok({"status": "ok"}))
    assert [client.is_ready() for _ in range(3)] == [False, False, True]

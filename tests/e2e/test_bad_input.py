"""What a careless or hostile client sends over real HTTP: one envelope, one code, and nothing half-made behind it."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.e2e.conftest import Market

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.timeout(120)]

GOOD: dict[str, Any] = {
    "image": "busybox",
    "command": ["true"],
    "resources": {"cpu": 0.5, "memory": "64Mi"},
    "maxPrice": "1.0",
    "timeout": "5m",
}


class Answer(Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code, out of an envelope that is whole."""
        problem = json.loads(self.body)
        assert self.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "instance", "requestId", "error"} <= set(problem)
        assert (problem["status"], problem["requestId"]) == (self.status, self.headers["x-request-id"])
        assert set(problem["error"]) == {"code", "message", "details"}
        assert "Traceback" not in problem["detail"]
        return str(problem["error"]["code"])


class Curl:
    """curl against the requester's API, with its key unless told otherwise."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key

    def __call__(self, *options: str, path: str = "/v1/jobs", key: str | None = None, body: bytes = b"") -> Answer:
        words = ["curl", "-sS", "-i", "--max-time", "100", "-H", f"X-API-Key: {self._key if key is None else key}"]
        done = subprocess.run([*words, *options, self._url + path], capture_output=True, input=body, check=False)
        assert done.returncode == 0, done.stderr
        head, _, rest = done.stdout.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return Answer(int(lines[0].split()[0]), headers, rest)

    def post(self, body: Any, *options: str, **others: Any) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = ("-X", "POST", "-H", "Content-Type: application/json", "-H", "Expect:", "--data-binary", "@-")
        return self(*sent, *options, body=data, **others)


@pytest.fixture
def curl(market: Market) -> Iterator[Curl]:
    """At the end the account has the same jobs, and no job has less than all its parts."""
    contact = market.cluster.contact("requester")
    before = [job["id"] for job in market.buyer.jobs(limit=1000)]
    yield Curl(contact.url, contact.key)
    assert [job["id"] for job in market.buyer.jobs(limit=1000)] == before
    assert market.buyer.is_ready()


def _with(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"image": "busybox", "image": "busybox", "maxPrice": }',
        b'{"image": "\\ud800", "maxPrice": "1"}',
        b'{"image": "busybox", "maxPrice": NaN}',
        json.dumps(_with(maxPrice="1")).encode("utf-16"),
        _with(colour="red"),
        _with(resources={"cpu": -1}),
        _with(resources={"cpu": 10**400}),
        _with(resources={"memory": "4Gx"}),
        _with(resources={"memory": -(10**30)}),
        _with(resources={"memory": "1" * 100_000}),
        _with(resources={"gpu": 10**12}),
        _with(maxPrice="abc"),
        _with(maxPrice="-1"),
        _with(maxPrice="\u0661"),
        _with(maxPrice="1" * 5000),
        _with(maxPrice=10**30),
        _with(maxPrice=True),
        _with(timeout="1 fortnight"),
        _with(timeout=-1),
        _with(command=[]),
        _with(command="true"),
        _with(command=["a\0b"]),
        _with(command=["x"] * 10_000),
        _with(env={"A": "x" * 10**6}),
        _with(image="../../etc/passwd"),
        _with(image="busybox; rm -rf /"),
        _with(inputs=[{"path": "../../root/.ssh/authorized_keys", "text": "x"}]),
        _with(outputs=["../../../etc/shadow"]),
        _with(inputs=[{"path": "a", "digest": "ab" * 32}]),
    ],
    ids=lambda body: (body if isinstance(body, bytes) else json.dumps(body).encode())[-40:].decode("ascii", "replace"),
)
def test_a_body_that_does_not_fit_is_a_400(curl: Curl, body: Any) -> None:
    answer = curl.post(body)
    assert (answer.status, answer.code) == (400, "INVALID_PARAMETERS"), answer.body[:300]


def test_no_key_and_a_wrong_one_are_a_401_before_anything_is_read(curl: Curl) -> None:
    for key in ("", "ng_live_wrong", "x" * 5000, "ng_live_\u00e9"):
        answer = curl.post(b"{", key=key)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


def test_a_body_above_the_limit_is_a_413(curl: Curl, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b" " * (9 * 2**20))
    sent = ("-X", "POST", "-H", "Content-Type: application/json", "-H", "Expect:")
    for how in (("--data-binary", f"@{big}"), ("-H", "Transfer-Encoding: chunked", "--data-binary", f"@{big}")):
        answer = curl(*sent, *how)
        assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"])
def test_another_media_type_is_a_415(curl: Curl, kind: str) -> None:
    answer = curl("-X", "POST", "-H", f"Content-Type: {kind}", "--data-binary", json.dumps(GOOD))
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_more_than_the_wallet_holds_is_a_402(curl: Curl) -> None:
    answer = curl.post(_with(maxPrice="1000000"))
    assert (answer.status, answer.code) == (402, "INSUFFICIENT_FUNDS")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/jobs/job_unknown", 404, "NOT_FOUND"),
        ("GET", "/v1/jobs/..%2f..%2fetc%2fpasswd", 404, "NOT_FOUND"),
        ("GET", "/v1/jobs/job_unknown/results/..%2f..%2fpassword", 404, "NOT_FOUND"),
        ("POST", "/v1/jobs/job_unknown/cancel", 404, "NOT_FOUND"),
        ("GET", "/v1/providers/prov_%00", 404, "NOT_FOUND"),
        ("DELETE", "/v1/jobs", 405, "METHOD_NOT_ALLOWED"),
        ("TRACE", "/v1/jobs", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/jobs?limit=0", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/jobs?limit=101", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/jobs?limit=99999999999999999999", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/jobs?cursor=zzz", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/jobs?status=dancing", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/jobs/job_unknown?wait=-1", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/jobs/job_unknown?wait=nan", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/jobs/job_unknown?wait=1e9", 400, "INVALID_PARAMETERS"),
        ("GET", "/v1/providers?minReputation=-1", 400, "INVALID_PARAMETERS"),
        ("GET", "/%ff%fe", 404, "NOT_FOUND"),
    ],
)
def test_what_is_not_there_or_not_allowed_says_so(curl: Curl, method: str, path: str, status: int, code: str) -> None:
    answer = curl("-X", method, "--path-as-is", path=path)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    "body", [{"to": "me"}, {"to": "0x" + "0" * 40}, {"amount": "-1"}, {"amount": 10**40}, {"x": 1}]
)
def test_money_does_not_leave_for_nowhere(curl: Curl, body: Any) -> None:
    answer = curl.post(body, path="/v1/wallet/withdraw")
    assert (answer.status, answer.code) == (400, "INVALID_PARAMETERS"), answer.body


def test_an_upload_that_breaks_off_leaves_no_file(market: Market, curl: Curl) -> None:
    files = market.cluster.folder / "requester" / "files"
    before = sorted(files.glob("*"))
    host, _, port = market.buyer.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as wire:
        key = market.cluster.contact("requester").key
        wire.sendall(
            f"PUT /v1/files HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 99999\r\n\r\nabc".encode()
        )
    market.until(lambda: sorted(files.glob("*")) == before, "no part of the upload")


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/version HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 5_000_000 + b"\r\n\r\n",
    ],
    ids=["no http", "no version", "negative length", "smuggling", "huge header"],
)
def test_what_is_no_http_ends_the_connection_and_nothing_else(market: Market, curl: Curl, raw: bytes) -> None:
    host, _, port = market.buyer.url.removeprefix("http://").partition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=60) as wire, suppress(ConnectionError):
        wire.sendall(raw)
        wire.shutdown(socket.SHUT_WR)
        answer = wire.recv(65_536)
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))


def test_a_key_of_one_order_is_not_a_key_of_another(market: Market) -> None:
    contact = market.cluster.contact("requester")
    curl = Curl(contact.url, contact.key)
    header = ("-H", "Idempotency-Key: e2e-mismatch")
    first = curl.post(GOOD, *header)
    again = curl.post(GOOD, *header)
    other = curl.post(_with(timeout="6m"), *header)
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert (other.status, other.code) == (422, "IDEMPOTENCY_MISMATCH")
    assert curl.post(GOOD, "-H", "Idempotency-Key: " + "x" * 300).code == "INVALID_PARAMETERS"
    market.finished(json.loads(first.body))

"""Requests to a node: errors by their code, retries of what is safe to repeat, pages, server-sent events."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from market.errors import InvalidParameters, NeugridError, Unavailable

Json = dict[str, Any]
WAIT: Final = 60
"""The longest that one request waits for the end of a job, in seconds."""
PATIENCE: Final = 5.0
"""The longest Retry-After that a retry waits for, in seconds."""
_RETRIED: Final = (429, 503)


class Wire:
    """The connection to one node. Raises the errors of `market.errors`; Unavailable when nobody answers."""

    def __init__(self, url: str, key: str, retries: int, transport: httpx.BaseTransport | None) -> None:
        self.url = _checked_url(url).rstrip("/")
        self._retries = retries
        self._key = {"X-API-Key": key} if key else {}
        timeout = httpx.Timeout(30.0, read=WAIT + 15.0, connect=5.0)
        self.http = httpx.Client(base_url=self.url, headers=self._key, timeout=timeout, transport=transport)

    def json(self, method: str, path: str, **parts: Any) -> Json:
        """The JSON object that answers a request that is safe to repeat."""
        found: Json = self.request(method, path, **parts).json()
        return found

    def once(self, method: str, path: str, **parts: Any) -> Json:
        """The JSON object that answers a request that must not be repeated unasked."""
        try:
            found: Json = _checked(self.http.request(method, path, **parts)).json()
        except httpx.TransportError as error:
            raise _no_answer(self.url, error) from error
        return found

    def request(self, method: str, path: str, **parts: Any) -> httpx.Response:
        """The answer; after transport errors, 429 and 503 it is asked again."""
        for attempt in range(self._retries + 1):
            is_last = attempt == self._retries
            try:
                answer = self.http.request(method, path, **parts)
            except httpx.TransportError as error:
                if is_last:
                    raise _no_answer(self.url, error) from error
                time.sleep(0.1 * 2**attempt)
                continue
            pause = _pause(answer, attempt)
            if pause is None or is_last:
                return _checked(answer)
            time.sleep(pause)
        raise Unavailable(f"no answer from {self.url}")

    def save(self, path: str, target: Path) -> None:
        """A file of the node onto the disk, in pieces."""
        chunks = self.stream(path, {})
        first = next(chunks, b"")  # a refusal leaves no empty file behind
        with target.open("wb") as file:
            file.write(first)
            file.writelines(chunks)

    def stream(self, path: str, params: Mapping[str, str]) -> Iterator[bytes]:
        """The body of an answer, in pieces."""
        try:
            with self.http.stream("GET", path, params=dict(params)) as answer:
                _checked_stream(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise _no_answer(self.url, error) from error

    def socket(self, path: str, query: list[tuple[str, str]]) -> Any:
        """A WebSocket of the node, as a context manager; Unavailable when there is none to be had."""
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        url = str(httpx.URL(self.url + path, params=query)).replace("http", "ws", 1)
        try:
            return connect(url, additional_headers=dict(self._key), max_size=2**20, compression=None)
        except (WebSocketException, OSError) as error:
            raise Unavailable(f"no console at {self.url}: {error}") from error

    def pages(self, path: str, plural: str, limit: int, params: Mapping[str, Any]) -> Iterator[Json]:
        """At most `limit` items of a list, over as many pages as it takes."""
        cursor = ""
        while limit > 0:
            place = {"cursor": cursor} if cursor else {}
            page = self.json("GET", path, params={**params, "limit": min(limit, 100), **place})
            yield from page[plural]
            limit -= 100
            cursor = page["pagination"].get("nextCursor", "")
            if not cursor:
                return

    def events(self, path: str, params: Mapping[str, str]) -> Iterator[Json]:
        """Events to the one that ends the stream; a broken stream is resumed while there is progress."""
        last, failures = "", 0
        while failures <= self._retries:
            try:
                for event in self._stream(path, params, last):
                    failures, last = 0, event["id"] or last
                    if event["event"] == "end":
                        return
                    yield event
            except httpx.TransportError as error:
                if failures == self._retries:
                    raise _no_answer(self.url, error) from error
            failures += 1
            time.sleep(0.1 * 2**failures)
        raise Unavailable(f"the stream of {self.url}{path} ended too early")

    def _stream(self, path: str, params: Mapping[str, str], last: str) -> Iterator[Json]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        with self.http.stream("GET", path, params=dict(params), headers=headers) as answer:
            _checked_stream(answer)
            event = _EMPTY
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if not line and event["event"]:
                    yield _parsed(event)
                    event = _EMPTY
                elif name in event:
                    event = {**event, name: value}


def _checked_url(url: str) -> str:
    try:
        found = httpx.URL(url)
        if found.scheme in ("http", "https") and found.host:
            return url
    except httpx.InvalidURL:
        pass
    raise InvalidParameters(f"{url!r} is no address of a node, such as http://127.0.0.1:8080", field="url", value=url)


_EMPTY: Final = {"id": "", "event": "", "data": ""}


def _parsed(event: Mapping[str, str]) -> Json:
    data = json.loads(event["data"])
    if event["event"] == "error":
        raise _error_of(data)
    return {**event, "data": data}


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise _error_in(answer)
    return answer


def _checked_stream(answer: httpx.Response) -> None:
    if answer.is_error:
        answer.read()
        raise _error_in(answer)


def _pause(answer: httpx.Response, attempt: int) -> float | None:
    """How long to wait before a retry; None = this answer stands."""
    if answer.status_code not in _RETRIED:
        return None
    wait = answer.headers.get("retry-after", "")
    seconds = float(wait) if wait.isascii() and wait.isdigit() else 0.1 * 2**attempt
    return min(seconds, 0.5 * 2**attempt) if seconds <= PATIENCE else None


def _error_in(answer: httpx.Response) -> NeugridError:
    try:
        said = answer.json()
        if "error_description" in said:  # as OAuth says it
            said = {"error": {"code": said["error"], "message": said["error_description"]}}
        elif isinstance(said["error"], str):  # as some documented routes say it
            said = {"error": {"code": said["code"], "message": said["error"], "details": said.get("details")}}
        return _error_of(said["error"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"{answer.url.host} answered {answer.status_code} without a reason: is this a node?")


def _error_of(found: Mapping[str, Any]) -> NeugridError:
    code = str(found["code"]).upper()
    code = _OTHER_WORDS.get(code, code)
    error = _KINDS.get(code, NeugridError)(found["message"])
    error.details = dict(found.get("details") or {})
    error.code = code  # type: ignore[misc]  # a code that this version does not know stays what it is
    return error


def _no_answer(url: str, error: Exception) -> Unavailable:
    return Unavailable(f"no node answers at {url}: {str(error) or type(error).__name__}", url=url)


def _all(kind: type[NeugridError]) -> Iterator[type[NeugridError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _all(child)


_OTHER_WORDS: Final = {"INVALID_REQUEST": "INVALID_PARAMETERS", "RATE_LIMIT_EXCEEDED": "RATE_LIMITED"}
"""Codes that some documented routes spell otherwise, beyond writing them in lower case."""
_KINDS: Final = {kind.code: kind for kind in _all(NeugridError)}

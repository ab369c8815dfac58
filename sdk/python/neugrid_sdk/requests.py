"""Requests of the API as values: paths that are quoted, queries without what is not said, bodies in JSON."""

import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from neugrid_sdk.effects import Request
from neugrid_sdk.errors import InvalidParameters
from neugrid_sdk.retries import KEY

JSON: Final = {"Content-Type": "application/json"}


def get(path: str, *, wait: float = 0, **query: object) -> Request:
    """To look; with `wait` the node may take so many seconds for its answer."""
    return Request(
        method="GET", path=path, params=_params({**query, "wait": wait or None}), is_repeatable=True, wait=wait
    )


def post(path: str, body: Mapping[str, Any] | None = None, *, is_repeatable: bool = False) -> Request:
    """To do something; `is_repeatable` where doing it twice is doing it once."""
    return _with_body("POST", path, body, is_repeatable)


def paid(path: str, body: Mapping[str, Any] | None, key: str, *, is_repeatable: bool = True) -> Request:
    """To do something that costs money, once however often it is sent: under the key, or one that is made here."""
    request = _with_body("POST", path, body, is_repeatable)
    return msgspec.structs.replace(request, headers={**request.headers, KEY: key or secrets.token_hex(16)})


def patch(path: str, body: Mapping[str, Any]) -> Request:
    """To change what the body names."""
    return _with_body("PATCH", path, body, True)


def put(path: str, content: bytes) -> Request:
    """To leave bytes there."""
    headers = {"Content-Type": "application/octet-stream"}
    return Request(method="PUT", path=path, headers=headers, content=content, is_repeatable=True)


def delete(path: str) -> Request:
    """To end it; a second time it would not be found."""
    return Request(method="DELETE", path=path)


def events(path: str, *, silence: float, **query: object) -> Request:
    """To follow what happens, as server-sent events."""
    headers = {"Accept": "text/event-stream"}
    return Request(method="GET", path=path, params=_params(query), headers=headers, is_repeatable=True, wait=silence)


def quoted(id: str) -> str:
    """The id as one segment of a path; InvalidParameters for what would be another path."""
    if id in ("", ".", ".."):
        raise InvalidParameters(f"{id!r} is no id", details={"field": "id", "value": id})
    return quote(id, safe="")


def quoted_path(path: str) -> str:
    """A path of a file below another one, its slashes kept."""
    return "/".join(quoted(part) for part in path.split("/"))


def _with_body(method: str, path: str, body: Mapping[str, Any] | None, is_repeatable: bool) -> Request:
    if body is None:
        return Request(method=method, path=path, is_repeatable=is_repeatable)
    content = msgspec.json.encode(body)
    return Request(method=method, path=path, headers=JSON, content=content, is_repeatable=is_repeatable)


def _params(query: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in query.items() if value is not None and value != ""}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

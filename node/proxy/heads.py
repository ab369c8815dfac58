"""Judges the head of a request before anything else reads it: what two servers might read differently is refused.

RFC 9112 lets a recipient repair some of it; a gateway that repairs is how requests are smuggled. The rules are
stricter than the parser behind them, which then finds nothing to interpret.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from node.proxy.limits import ProxyLimits
from node.proxy.refusals import Refusal

Headers = list[tuple[bytes, bytes]]
END: Final = b"\r\n\r\n"
_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]{1,16384}) HTTP/1\.([01])")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([\x09\x20-\x7e\x80-\xff]*?)[ \t]*")
_HOST: Final = re.compile(r"([a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,15}\.?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?")
_LENGTH: Final = re.compile(rb"\d{1,18}")
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade")
_NOT_HERE: Final = ("CONNECT", "TRACE")
_OWN: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
"""Headers that belong to the message; a client that names them as the connection's wants them lost on the way."""


class RequestHead(Struct, frozen=True):
    """A request that reads the same for everybody. `host` is lower case and without port, `authority` as it came."""

    method: str
    target: str
    host: str
    authority: str
    headers: Headers
    """Names in lower case."""
    has_body: bool
    is_chunked: bool
    upgrade: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query, for messages."""
        return self.target.split("?", 1)[0]


def parsed(head: bytes, limits: ProxyLimits) -> RequestHead:
    """The request of these bytes, which end in an empty line. Raises Refusal."""
    first, *lines = head[: -len(END)].split(b"\r\n")
    match = _LINE.fullmatch(first)
    if match is None:
        raise _bad("not a request line of HTTP/1.0 or 1.1")
    method = match[1].decode()
    if method in _NOT_HERE:
        raise Refusal("METHOD_NOT_ALLOWED", f"{method} is not allowed here")
    if len(lines) > limits.headers:
        raise Refusal("HEAD_TOO_LARGE", f"more than {limits.headers} headers", limit=limits.headers)
    headers = [_header(line) for line in lines]
    return _request(method, match[2].decode(), match[3] == b"1", headers)


def _header(line: bytes) -> tuple[bytes, bytes]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise _bad("not a header: a name, a colon at once, and no control characters; lines are not folded")
    return match[1].lower(), match[2]


def _request(method: str, target: str, is_new: bool, headers: Headers) -> RequestHead:
    one = _single(headers)
    is_chunked, length = _framing(one, is_new)
    host, target, authority = _place(target, one.get(b"host"))
    named = connection_names(headers)
    if named & _OWN:
        raise _bad("Connection names a header of the message itself")
    upgrade = one.get(b"upgrade", b"") if is_new and b"upgrade" in named else b""
    if upgrade.lower() == b"h2c":
        upgrade = b""
    if upgrade and (is_chunked or length):
        raise _bad("an upgrade with a body")
    return RequestHead(method, target, host, authority, headers, is_chunked or length > 0, is_chunked, upgrade)


def _single(headers: Headers) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in found and name in _ONCE:
            raise _bad(f"more than one {name.decode()}")
        found[name] = value
    return found


def _framing(one: dict[bytes, bytes], is_new: bool) -> tuple[bool, int]:
    """Whether the body comes in chunks, else its length."""
    length, coding = one.get(b"content-length"), one.get(b"transfer-encoding")
    if coding is not None and (length is not None or not is_new or coding.lower() != b"chunked"):
        raise _bad("Transfer-Encoding is chunked, in HTTP/1.1, without Content-Length, or absent")
    if length is not None and not _LENGTH.fullmatch(length):
        raise _bad("Content-Length is not a number")
    expected = one.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        raise Refusal("EXPECTATION_FAILED", "only 100-continue can be expected")
    return coding is not None, int(length or 0)


def _place(target: str, host: bytes | None) -> tuple[str, str, str]:
    """Host name, target in origin form, and the authority. An absolute target must agree with Host."""
    authority = (host or b"").decode("latin-1")
    match = _HOST.fullmatch(authority.lower())
    if match is None:
        raise _bad("Host is missing, or is no host name")
    if not target.startswith("/") and target != "*":
        target = _origin_form(target, authority)
    if target.startswith("//") or "#" in target:
        raise _bad("no such target")
    return match[1].rstrip("."), target, authority


def _origin_form(target: str, authority: str) -> str:
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or parts.netloc.lower() != authority.lower():
        raise _bad("the target is no path, and no URL of the Host")
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def connection_names(headers: Headers) -> set[bytes]:
    """What Connection names, in lower case."""
    values = [value for name, value in headers if name == b"connection"]
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _bad(message: str) -> Refusal:
    return Refusal("BAD_REQUEST", message)

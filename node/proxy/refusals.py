"""Every answer that is the gateway's own and not the service's: status, reason, and the envelope around them."""

import secrets
from http import HTTPStatus
from typing import ClassVar, Final

from market.errors import NeugridError, PeerUnreachable, Refused
from node.api.errors import MEDIA_TYPE, problem_body
from node.api.views import ErrorBody

STATUS: Final[dict[str, int]] = {
    "BAD_REQUEST": 400,
    "UNKNOWN_HOST": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "EXPECTATION_FAILED": 417,
    "HEAD_TOO_LARGE": 431,
    "UPSTREAM_CLOSED": 502,
    "BAD_UPSTREAM_RESPONSE": 502,
    "PORT_CLOSED": 502,
    "NO_SUCH_PORT": 502,
    "PROVIDER_REFUSED": 502,
    "NO_REPLICA": 503,
    "NOT_RUNNING": 503,
    "PROVIDER_UNREACHABLE": 503,
    "REPLICA_BUSY": 503,
    "DIAL_TIMEOUT": 504,
    "UPSTREAM_TIMEOUT": 504,
    "TOTAL_TIMEOUT": 504,
}
_SAID: Final = {
    "NOT_FOUND": "NOT_RUNNING",
    "NOT_RUNNING": "NOT_RUNNING",
    "BUSY": "REPLICA_BUSY",
    "SERVICE_UNAVAILABLE": "NOT_RUNNING",
    "PORT_CLOSED": "PORT_CLOSED",
    "NO_SUCH_PORT": "NO_SUCH_PORT",
    "DIAL_TIMEOUT": "DIAL_TIMEOUT",
}
"""What a provider says, in the gateway's words."""


class Refusal(NeugridError):
    """The gateway answers for itself; `reason` is a key of STATUS."""

    code: ClassVar[str] = "GATEWAY_REFUSED"

    def __init__(self, reason: str, message: str, **details: object) -> None:
        super().__init__(message, **details)
        self.reason = reason

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.reason]


def refusal_of(error: NeugridError) -> Refusal:
    """Why no connection to a replica could be had."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Refused):
        codes = error.details.get("codes")
        said = str(codes[0]) if isinstance(codes, tuple) and codes else ""
        return Refusal(_SAID.get(said, "PROVIDER_REFUSED"), error.message, provider_code=said)
    if isinstance(error, PeerUnreachable):
        return Refusal("PROVIDER_UNREACHABLE", "the provider of this service can not be reached")
    return Refusal("PROVIDER_UNREACHABLE", f"no connection to the service: {error.message}")


def answer_bytes(refusal: Refusal, path: str = "", *, has_body: bool = True) -> bytes:
    """The whole answer; the connection is closed behind it."""
    status = refusal.status
    error = ErrorBody(code=refusal.reason, message=refusal.message, details=refusal.details)
    body = problem_body(status, error, path, f"req_{secrets.token_hex(8)}")
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        *(["Retry-After: 2"] if status == HTTPStatus.SERVICE_UNAVAILABLE else []),
        *(["Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"] if status == HTTPStatus.METHOD_NOT_ALLOWED else []),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body if has_body else b"")

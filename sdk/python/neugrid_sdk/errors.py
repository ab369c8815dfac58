"""The one error tree, and the reading of refusals in each of the shapes that the API documents."""

from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final

import msgspec

from neugrid_sdk.effects import Answer


class NeugridError(Exception):
    """Something was refused or went wrong.

    `code` is stable and in upper case, `details` say what was expected and what came, `status` is HTTP's (0 = there was
    no answer), `request_id` finds the request in the node's log, `retry_after` are the seconds that the node asks for.
    """

    CODE: ClassVar[str] = "INTERNAL_ERROR"
    STATUS: ClassVar[int] = 0

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        details: Mapping[str, Any] | None = None,
        status: int = 0,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.CODE
        self.details = dict(details or {})
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class NoAnswer(NeugridError):
    """Nobody answered; `was_sent` says whether the request may have been done all the same."""

    CODE = "NO_ANSWER"

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class BadAnswer(NeugridError):
    """The answer is not one that a node gives."""

    CODE = "BAD_ANSWER"


class BadSignature(NeugridError):
    """What came to a webhook was not sent by the node, or long ago; `details` hold the `field` that shows it."""

    CODE = "BAD_SIGNATURE"


class TimedOut(NeugridError):
    """It did not end within the time that was given; `last` is how it stood, and it goes on."""

    CODE = "TIMED_OUT"

    def __init__(self, message: str, last: Any) -> None:
        super().__init__(message)
        self.last = last


class InvalidParameters(NeugridError):
    """A value does not fit; `details` hold `field`, `value` and `expected`."""

    CODE, STATUS = "INVALID_PARAMETERS", 400


class Unauthorized(NeugridError):
    """No key, or one that is not known or has expired."""

    CODE, STATUS = "UNAUTHORIZED", 401


class InsufficientFunds(NeugridError):
    """The wallet does not hold enough; `details` hold `needed` and `available`."""

    CODE, STATUS = "INSUFFICIENT_FUNDS", 402


class Forbidden(NeugridError):
    """The key is known, and may not do that."""

    CODE, STATUS = "FORBIDDEN", 403


class QuotaExceeded(Forbidden):
    """The account has as much of it as it may have."""

    CODE, STATUS = "QUOTA_EXCEEDED", 403


class NotFound(NeugridError):
    """There is no such thing, or it belongs to somebody else."""

    CODE, STATUS = "NOT_FOUND", 404


class MethodNotAllowed(NeugridError):
    """The node is of another version: it does not know this request."""

    CODE, STATUS = "METHOD_NOT_ALLOWED", 405


class RequestTimeout(NeugridError):
    """The body came so slowly that the node did not wait for the rest."""

    CODE, STATUS = "REQUEST_TIMEOUT", 408


class Conflict(NeugridError):
    """The request contradicts the present state."""

    CODE, STATUS = "CONFLICT", 409


class InvalidTransition(Conflict):
    """That can not be done in this state."""

    CODE, STATUS = "INVALID_TRANSITION", 409


class PayloadTooLarge(NeugridError):
    """The body is above the node's limit."""

    CODE, STATUS = "PAYLOAD_TOO_LARGE", 413


class UnsupportedMediaType(NeugridError):
    """The body is of a type that the node does not read."""

    CODE, STATUS = "UNSUPPORTED_MEDIA_TYPE", 415


class IdempotencyMismatch(NeugridError):
    """The same Idempotency-Key came with another body."""

    CODE, STATUS = "IDEMPOTENCY_MISMATCH", 422


class RateLimited(NeugridError):
    """Too many requests; `retry_after` says when there may be more."""

    CODE, STATUS = "RATE_LIMITED", 429


class InternalError(NeugridError):
    """The node's own fault; its operator finds the reason under `request_id`."""

    CODE, STATUS = "INTERNAL_ERROR", 500


class Unavailable(NeugridError):
    """The node, or what it depends on, is not there now; later is right."""

    CODE, STATUS = "SERVICE_UNAVAILABLE", 503


class PeerUnreachable(Unavailable):
    """There is no connection to the provider."""

    CODE, STATUS = "PEER_UNREACHABLE", 503


class WrongChain(Unavailable):
    """The node's chain is not the one that it is bound to."""

    CODE, STATUS = "WRONG_CHAIN", 503


OTHER_WORDS: Final = {"INVALID_REQUEST": "INVALID_PARAMETERS", "RATE_LIMIT_EXCEEDED": "RATE_LIMITED"}
"""Codes that some documented routes spell otherwise, beyond writing them in lower case."""


def checked(answer: Answer) -> Answer:
    """The answer; the error that it holds is raised when it is a refusal."""
    if answer.is_refusal:
        raise error_in(answer)
    return answer


def error_in(answer: Answer) -> NeugridError:
    """The error in a refusal: nested under `error`, or flat beside a sentence in `error`; codes in either case."""
    body = _object(answer.content)
    found = body.get("error")
    if isinstance(found, str):
        found = {"code": body.get("code"), "message": found, "details": body.get("details")}
    if not isinstance(found, dict):
        found = {"message": f"status {answer.status} without a reason: is this a node?"}
    request_id = str(body.get("requestId") or answer.headers.get("x-request-id", ""))
    return error_of(found, answer.status, request_id, retry_after(answer.headers))


def error_of(
    found: Mapping[str, Any], status: int = 0, request_id: str = "", after: float | None = None
) -> NeugridError:
    """The error by its `code`, or by its status where the code is not known here; `message` and `details` with it."""
    code = str(found.get("code") or "").upper()
    code = OTHER_WORDS.get(code, code)
    details = found.get("details")
    return _kind(code, status)(
        str(found.get("message") or "no reason was given"),
        code=code,
        details=details if isinstance(details, dict) else {},
        status=status,
        request_id=request_id,
        retry_after=after,
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that Retry-After asks for; a date counts from the answer's own Date (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        later, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (later - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _object(content: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _kind(code: str, status: int) -> type[NeugridError]:
    if code in KINDS:
        return KINDS[code]
    known = next((kind for kind in KINDS.values() if status and status == kind.STATUS), None)
    if known is None and not code:
        return Unavailable if status >= 500 else BadAnswer
    return known or NeugridError


def _all(kind: type[NeugridError]) -> Iterator[type[NeugridError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _all(child)


KINDS: Final = {kind.CODE: kind for kind in _all(NeugridError) if kind.STATUS}
"""What a node can answer, by code."""

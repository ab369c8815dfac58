"""The one table that turns errors into HTTP answers, and the envelope of RFC 9457 around them."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from market.errors import NeugridError
from node.api.envelopes import shaped
from node.api.expectations import misfit
from node.api.views import ErrorBody, Problem

MEDIA_TYPE: Final = "application/problem+json"
REQUEST_ID: Final = "neugrid.request_id"
"""Where the edge leaves the request's id in the ASGI scope."""
PROFILE: Final = "neugrid.profile"
"""Where the guards leave the platform whose errors the caller reads."""
PROFILE_OF: Final = "neugrid.profile_of"
"""Where the edge leaves how to find it out of a scope in which no guard has let anybody in."""
NAMING: Final = "neugrid.naming"
"""Where the request leaves how its client calls the fields of the body."""
_log = structlog.get_logger("api")
_encode = msgspec.json.Encoder(enc_hook=str).encode

STATUS: Final[dict[str, int]] = {
    "INVALID_PARAMETERS": 400,
    "UNAUTHORIZED": 401,
    "INSUFFICIENT_FUNDS": 402,
    "FORBIDDEN": 403,
    "QUOTA_EXCEEDED": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "CONFLICT": 409,
    "INVALID_TRANSITION": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "IDEMPOTENCY_MISMATCH": 422,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
    "PEER_UNREACHABLE": 503,
    "WRONG_CHAIN": 503,
}
_CODES: Final = {status: code for code, status in reversed(STATUS.items())}
HEADERS_OF: Final[dict[int, dict[str, str]]] = {
    401: {"WWW-Authenticate": 'Bearer realm="neugrid"'},
    408: {"Connection": "close"},
    503: {"Retry-After": "5"},
}


class RequestTimeout(NeugridError):
    """The body does not come; `details` hold how many `seconds` its next piece was waited for."""

    code = "REQUEST_TIMEOUT"


class PayloadTooLarge(NeugridError):
    """The body is above the limit; `details` hold `limit` in bytes."""

    code = "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(NeugridError):
    """The body is of a type that the route does not read."""

    code = "UNSUPPORTED_MEDIA_TYPE"


def answer_refusal(request: Request[Any, Any, Any], error: NeugridError) -> Response[bytes]:
    """The answer to an error of ours; a code that is not in the table is our own fault and shows nothing."""
    status = STATUS.get(error.code)
    if status is None:
        return answer_surprise(request, error)
    headers = dict(HEADERS_OF.get(status, {}))
    if "retry_after" in error.details:
        headers["Retry-After"] = str(error.details["retry_after"])
    return _answer(request, status, _told(request, error), headers)


def _told(request: Request[Any, Any, Any], error: NeugridError) -> ErrorBody:
    """The error; a field of the body is called as the client calls it."""
    message, details, naming = error.message, error.details, request.scope.get(NAMING)
    field = details.get("field")
    if callable(naming) and isinstance(field, str):
        name = naming(field)
        message, details = message.replace(field, name, 1), {**details, "field": name}
    return ErrorBody(code=error.code, message=message, details=details)


def answer_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """The answer to an error of the framework: unknown route or method, a parameter that does not fit."""
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer_surprise(request, error)
    code = _CODES.get(status, "INVALID_PARAMETERS")
    body = ErrorBody(code=code, message=_sentence(request, error), details=_details(request, error))
    return _answer(request, status, body, {**HEADERS_OF.get(status, {}), **(error.headers or {})})


def answer_surprise(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to anything unforeseen: a request id that finds the log line, and nothing else."""
    _log.error("request failed", request_id=request_id(request), path=request.scope["path"], exc_info=error)
    message = "something went wrong on this node; its operator finds the reason under this request id"
    return _answer(request, 500, ErrorBody(code="INTERNAL_ERROR", message=message), {})


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id that the edge gave this request."""
    return str(request.scope.get(REQUEST_ID, ""))


def problems(*statuses: int, shape: type[Struct] = Problem) -> dict[int, ResponseSpec]:
    """The documented refusals of a route; those that every route can give are always among them.

    What comes of a body, 408, 413 and 415, the document adds by itself.
    """
    return {
        status: ResponseSpec(
            shape, description=HTTPStatus(status).phrase, media_type=MEDIA_TYPE, generate_examples=False
        )
        for status in sorted({400, 401, 403, 429, 500, *statuses})
    }


def problem_body(status: int, error: ErrorBody, path: str, id: str, profile: str = "") -> bytes:
    """The envelope as JSON, in the shape that is documented for the path, or for the caller's profile."""
    problem = Problem(
        type=f"urn:neugrid:error:{error.code.lower().replace('_', '-')}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        instance=path,
        request_id=id,
        error=error,
    )
    return _encode(shaped(problem, path, profile))


def _answer(request: Request[Any, Any, Any], status: int, error: ErrorBody, headers: dict[str, str]) -> Response[bytes]:
    body = problem_body(status, error, request.scope["path"], request_id(request), _profile(request))
    return Response(content=body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _profile(request: Request[Any, Any, Any]) -> str:
    found, find = request.scope.get(PROFILE), request.scope.get(PROFILE_OF)
    return str(find(request.scope)) if found is None and callable(find) else str(found or "")


def _sentence(request: Request[Any, Any, Any], error: HTTPException) -> str:
    sentences = {
        404: f"there is no {request.scope['path']}",
        405: f"{request.method} is not allowed on {request.scope['path']}",
    }
    if _first(error).get("key"):
        return _misfit(request, error)[0]
    return sentences.get(error.status_code) or error.detail


def _details(request: Request[Any, Any, Any], error: HTTPException) -> dict[str, Any]:
    field = _first(error).get("key")
    if not field:
        return {}
    value = request.query_params.get(field)
    return {"field": field, "value": value, "expected": _misfit(request, error)[1]}


def _misfit(request: Request[Any, Any, Any], error: HTTPException) -> tuple[str, str]:
    first = _first(error)
    field = first["key"]
    return misfit(field, first.get("message", "does not fit"), request.query_params.get(field))


def _first(error: HTTPException) -> dict[str, Any]:
    extra = error.extra
    return extra[0] if isinstance(extra, list) and extra and isinstance(extra[0], dict) else {}


Handlers = dict[type[Exception] | int, Callable[..., Response[bytes]]]
HANDLERS: Final[Handlers] = {
    NeugridError: answer_refusal,
    HTTPException: answer_http,
    Exception: answer_surprise,
}

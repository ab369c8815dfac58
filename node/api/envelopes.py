"""Errors in the shapes of the documented APIs: RFC 9457 with a nested object, flat, or with codes in lower case."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from node.api.views import Problem

FLAT: Final = ("/v1/pods", "/v1/projects")
"""Where `error` is the sentence itself, beside `code` and `status`."""
FLAT_PROFILES: Final = ("neorun",)
"""Keys of clients that expect that everywhere."""
LOWER: Final = ("/v1/agents", "/v1/auth", "/v1/billing", "/v1/services", "/v1/users", "/v1/webhooks")
"""Where codes are in lower case, and `details` hold a `reason`."""
SNAKE: Final = (*FLAT, *LOWER)
"""Where the documented names of fields are in snake case."""
LOWER_CODES: Final[Mapping[str, str]] = {
    "INVALID_PARAMETERS": "invalid_request",
    "INVALID_TRANSITION": "conflict",
    "RATE_LIMITED": "rate_limit_exceeded",
}
"""Codes that have another word there; all others are only written in lower case."""


class FlatProblem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A refusal whose `error` is a sentence."""

    error: str
    code: str
    status: int
    details: dict[str, Any]
    title: str
    instance: str
    request_id: str


def shaped(problem: Problem, path: str, profile: str = "") -> Problem | FlatProblem:
    """The refusal as clients of this path expect it, or those of the platform that the caller's key is for."""
    if profile in FLAT_PROFILES or _is_under(path, FLAT):
        return _flat(problem)
    return _lower(problem) if _is_under(path, LOWER) else problem


def is_snake(path: str) -> bool:
    """Whether fields are called in snake case there."""
    return _is_under(path, SNAKE)


def _is_under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


def _flat(problem: Problem) -> FlatProblem:
    return FlatProblem(
        error=problem.detail,
        code=problem.error.code,
        status=problem.status,
        details=problem.error.details,
        title=problem.title,
        instance=problem.instance,
        request_id=problem.request_id,
    )


def _lower(problem: Problem) -> Problem:
    error = problem.error
    code = LOWER_CODES.get(error.code, error.code.lower())
    details = {**error.details, "reason": error.message} if error.details else error.details
    return replace(problem, error=replace(error, code=code, details=details))

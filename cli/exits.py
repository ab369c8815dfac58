"""The one table that turns errors into exit codes."""

from typing import Final

from market.errors import NeugridError

JOB_FAILED: Final = 1
USAGE: Final = 2
INTERNAL: Final = 70
FILE: Final = 74
"""A file or folder on this machine can not be read or written."""
INTERRUPTED: Final = 130

EXITS: Final[dict[str, int]] = {
    "INVALID_PARAMETERS": 2,
    "CONFIG_ERROR": 2,
    "IDEMPOTENCY_MISMATCH": 2,
    "PAYLOAD_TOO_LARGE": 2,
    "UNAUTHORIZED": 3,
    "FORBIDDEN": 3,
    "NOT_FOUND": 4,
    "CONFLICT": 5,
    "INVALID_TRANSITION": 5,
    "INSUFFICIENT_FUNDS": 6,
    "RATE_LIMITED": 7,
    "REQUEST_TIMEOUT": 8,
    "SERVICE_UNAVAILABLE": 8,
    "PEER_UNREACHABLE": 8,
    "WRONG_CHAIN": 9,
}


def exit_code_of(error: NeugridError) -> int:
    """The exit code for an error; 70 for one that is nobody's fault but ours."""
    return EXITS.get(error.code, INTERNAL)

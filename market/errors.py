"""The one error tree: every refusal has a stable `code`, a sentence and its facts."""

from typing import ClassVar


class NeugridError(Exception):
    """Something was refused or went wrong; `code` is stable, `details` say what was expected and what came."""

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


class InvalidParameters(NeugridError):
    """A value from outside does not fit; `details` hold `field`, `value` and `expected`."""

    code = "INVALID_PARAMETERS"


class Unauthorized(NeugridError):
    """No credentials, or credentials that are not known here."""

    code = "UNAUTHORIZED"


class Forbidden(NeugridError):
    """Known, but not allowed: `details` hold the `scope` that is missing."""

    code = "FORBIDDEN"


class NotFound(NeugridError):
    """There is no such thing, or it belongs to somebody else."""

    code = "NOT_FOUND"


class Conflict(NeugridError):
    """The request contradicts the present state."""

    code = "CONFLICT"


class IdempotencyMismatch(NeugridError):
    """The same Idempotency-Key came with another body."""

    code = "IDEMPOTENCY_MISMATCH"


class InsufficientFunds(NeugridError):
    """The wallet or channel does not hold enough; `details` hold `needed` and `available` (base units)."""

    code = "INSUFFICIENT_FUNDS"


class QuotaExceeded(NeugridError):
    """The account has as much of it as it may have; `details` hold `limit`."""

    code = "QUOTA_EXCEEDED"


class RateLimited(NeugridError):
    """Too many requests or messages in the window."""

    code = "RATE_LIMITED"


class Unavailable(NeugridError):
    """A thing the node depends on does not answer now (chain, engine, network); trying again later is right."""

    code = "SERVICE_UNAVAILABLE"


class InvalidTransition(NeugridError):
    """The event is not allowed in this state: the pair is not in the machine's table."""

    code = "INVALID_TRANSITION"


class BadSignature(NeugridError):
    """The signature does not belong to the one who is said to have signed."""

    code = "BAD_SIGNATURE"


class BadMessage(NeugridError):
    """Bytes from a peer that are not a valid message: wrong size, layout, network, kind or payload."""

    code = "BAD_MESSAGE"


class StaleMessage(NeugridError):
    """A message that is expired, from the future, or already seen: ignored, and nobody's fault."""

    code = "STALE_MESSAGE"


class VoucherTooHigh(NeugridError):
    """The voucher would promise more than the channel's deposit covers."""

    code = "VOUCHER_TOO_HIGH"


class VoucherTooLow(NeugridError):
    """The voucher promises less than one that was already accepted, or less than is due."""

    code = "VOUCHER_TOO_LOW"


class WrongChain(NeugridError):
    """The chain's id or genesis is not the one this node is bound to."""

    code = "WRONG_CHAIN"


class ConfigError(NeugridError):
    """A config file is wrong; the message names the file, the key and what is allowed."""

    code = "CONFIG_ERROR"


class PeerUnreachable(Unavailable):
    """No connection to the peer: nothing can have reached it."""

    code = "PEER_UNREACHABLE"


class ImageNotFound(NeugridError):
    """No registry and no local store has the image."""

    code = "IMAGE_NOT_FOUND"


class ImageRefused(NeugridError):
    """The provider's rules do not admit the image; `details` hold `limit`, `expected` and `got`."""

    code = "IMAGE_REFUSED"


class OutputRefused(NeugridError):
    """The outputs hold something that is not a regular file, or too much."""

    code = "OUTPUT_REFUSED"


class Refused(NeugridError):
    """A peer said no; `details["codes"]` hold its reasons."""

    code = "REFUSED"

"""When a request is sent again: after broken connections, 429 and 503, with growing pauses, never to do it twice."""

from typing import Final

from msgspec import Struct

from neugrid_sdk.effects import Answer, Draw, Program, Request, Send, Sleep
from neugrid_sdk.errors import NoAnswer, checked, retry_after

KEY: Final = "Idempotency-Key"
REFUSED: Final = (429, 503)
"""Refusals before anything was done."""
LOST: Final = (502, 504)
"""What a gateway says when the node's own answer did not come."""


class Retries(Struct, frozen=True, kw_only=True):
    """How often and how patiently: pauses double from `first` to `longest` seconds, by chance down to half of it.

    A `Retry-After` is waited for in full, unless it is longer than `patience`: then the refusal stands.
    """

    count: int = 4
    first: float = 0.25
    longest: float = 8.0
    patience: float = 60.0

    def pause(self, failures: int, draw: float) -> float:
        """Seconds to wait after so many failures in a row (1 and up); `draw` from 0 to 1."""
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        return full * (1 + draw) / 2


def sent(request: Request, retries: Retries) -> Program[Answer]:
    """The answer, once it is none that is worth another try. Raises the error in it, or NoAnswer."""
    for failures in range(1, retries.count + 1):
        asked_for = None
        try:
            answer: Answer = yield Send(request)
        except NoAnswer as error:
            if error.was_sent and not request.is_repeatable:
                raise
        else:
            asked_for = retry_after(answer.headers)
            if not _is_worth_another(answer, request, failures) or (asked_for or 0) > retries.patience:
                return checked(answer)
        draw = yield Draw()
        yield Sleep((asked_for or 0) + retries.pause(failures, draw))
    return checked((yield Send(request)))


def _is_worth_another(answer: Answer, request: Request, failures: int) -> bool:
    """409 is worth it where the first request under this key may still be on its way."""
    if answer.status == 409:
        return KEY in request.headers and (failures > 1 or "retry-after" in answer.headers)
    return answer.status in REFUSED or (answer.status in LOST and request.is_repeatable)

"""Reputation from one's own experience: a fold over how dealings ended, for providers and for requesters alike.

Old experience loses half its weight in 14 days. The score is the mean of a beta distribution with a pessimistic
prior, as the registry on chain computes it: who is unknown stands at 0, and has to earn the rest.
"""

from enum import Enum
from typing import Final

from msgspec import Struct

HALF_LIFE: Final = 14 * 86_400_000
"""In ms."""
PRIOR: Final = 3.0
"""Weight of the failures that everybody starts with."""
SEVERITY: Final = 3.0
"""How many good dealings one bad dealing undoes."""


PATIENCE: Final = 9.0
"""How much bad more than good is borne of a requester: three leases that nobody paid for."""


class Ending(Enum):
    """How a dealing ended for the one who is judged: the first five for providers, the rest for requesters."""

    SUCCESS = "success"
    FAULT = "fault"
    """The provider failed: its engine, its machine, a wrong result."""
    LOST = "lost"
    """The provider vanished while it ran."""
    DECLINED = "declined"
    """The provider accepted, and then did not start."""
    NOBODY = "nobody"
    """The workload itself failed, or the requester cancelled: says nothing about the provider."""
    PAID = "paid"
    PAID_LATE = "paid_late"
    UNPAID = "unpaid"


class Outcome(Struct, frozen=True, kw_only=True):
    """One dealing that ended: seconds that were served, base units that were paid."""

    ending: Ending
    seconds: int = 0
    paid: int = 0


class Experience(Struct, frozen=True, kw_only=True):
    """All dealings with one party: decayed weights as of `updated_at` (epoch ms), and plain sums."""

    good: float = 0.0
    bad: float = 0.0
    dealings: int = 0
    seconds: int = 0
    paid: int = 0
    updated_at: int = 0


def record(experience: Experience, outcome: Outcome, now: int) -> Experience:
    """The experience with one more outcome; a clock that stepped back decays nothing."""
    good, bad = WEIGHTS[outcome.ending]
    kept = _decay(experience, now)
    return Experience(
        good=experience.good * kept + good,
        bad=experience.bad * kept + bad,
        dealings=experience.dealings + 1,
        seconds=experience.seconds + outcome.seconds,
        paid=experience.paid + outcome.paid,
        updated_at=max(experience.updated_at, now),
    )


def score(experience: Experience, now: int) -> int:
    """0..1000 at `now`; 0 for a party of which nothing good is known."""
    kept = _decay(experience, now)
    good, bad = experience.good * kept, experience.bad * kept
    return int(1000 * good / (good + SEVERITY * bad + PRIOR))


def is_bad_debtor(experience: Experience, now: int) -> bool:
    """Whether a requester has left so much unpaid that it is not served; it is forgiven as the memory of it fades."""
    return (experience.bad - experience.good) * _decay(experience, now) > PATIENCE


def _decay(experience: Experience, now: int) -> float:
    age = max(0, now - experience.updated_at)
    return float(0.5 ** (age / HALF_LIFE))


WEIGHTS: Final[dict[Ending, tuple[float, float]]] = {
    Ending.SUCCESS: (1.0, 0.0),
    Ending.FAULT: (0.0, 1.0),
    Ending.LOST: (0.0, 2.0),
    Ending.DECLINED: (0.0, 0.5),
    Ending.NOBODY: (0.0, 0.0),
    Ending.PAID: (1.0, 0.0),
    Ending.PAID_LATE: (0.5, 0.5),
    Ending.UNPAID: (0.0, 3.0),
}
"""What each ending adds to the good and to the bad."""

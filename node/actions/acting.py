"""On whose behalf something is done. The API's guards say it for their request; all else is the node's own doing.

It goes with the context and not through the parameters of every action: an action can not pass on somebody else.
"""

from contextvars import ContextVar
from typing import Final

from market.audit import NODE, Actor

ACTING: Final[ContextVar[Actor]] = ContextVar("acting", default=NODE)


def acting() -> Actor:
    """Who acts now."""
    return ACTING.get()

"""Asks by hand: prices that the provider sets itself for a while, in place of those of its policy."""

from typing import Final

import msgspec

from market.audit import Deed
from market.errors import Conflict, InvalidParameters, NotFound
from market.pricing import Ask, PricingPolicy, stands
from market.resources import Prices
from node.actions.acting import acting
from node.actions.audit import write_down
from node.actions.ids import new_id
from node.engine import Engine
from node.ports import Reader, Tx
from node.records import Mark

MARK: Final = "ask"
_encode = msgspec.json.Encoder().encode
_ask = msgspec.json.Decoder(Ask)


def standing_ask(reader: Reader, now: int) -> Ask | None:
    """The ask that stands now."""
    mark = reader.get(Mark, MARK)
    ask = _ask.decode(mark.value) if mark is not None else None
    return ask if ask is not None and stands(ask, now) else None


class Asks:
    """The ask of this node's machine: there is one, for it has one standing offer. `policy` None sells nothing."""

    def __init__(self, engine: Engine, policy: PricingPolicy | None) -> None:
        self._engine = engine
        self._policy = policy

    def list(self) -> list[Ask]:
        """The ask that stands, if one does."""
        ask = standing_ask(self._engine.storage, self._engine.clock.now())
        return [ask] if ask is not None else []

    async def post(self, prices: Prices, seconds: int = 0) -> Ask:
        """Ask these prices from now on, for `seconds` (0 = until it is taken back), in place of an ask before.

        Raises Conflict where nothing is sold, InvalidParameters for less than it costs the provider itself.
        """
        if self._policy is None:
            raise Conflict("this node sells nothing: it has no role provider")
        _check_cost(prices, self._policy.cost)
        now = self._engine.clock.now()
        ask = Ask(
            id=new_id("ask", now), prices=prices, created_at=now, expires_at=now + seconds * 1000 if seconds else 0
        )

        def work(tx: Tx) -> None:
            tx.put(Mark(id=MARK, value=_encode(ask).decode()))
            write_down(tx, Deed(action="ask.posted", subject=ask.id, detail=_told(prices)), actor, now)

        actor = acting()
        await self._engine.storage.write(work)
        return ask

    async def withdraw(self, id: str) -> None:
        """Go back to the prices of the policy; NotFound when this ask does not stand."""

        def work(tx: Tx) -> None:
            ask = standing_ask(tx, self._engine.clock.now())
            if ask is None or ask.id != id:
                raise NotFound("no such ask", id=id[:80])
            tx.delete(Mark, MARK)
            write_down(tx, Deed(action="ask.withdrawn", subject=id), actor, self._engine.clock.now())

        actor = acting()
        await self._engine.storage.write(work)


def _told(prices: Prices) -> dict[str, str]:
    return {name: str(getattr(prices, name)) for name in prices.__struct_fields__}


def _check_cost(prices: Prices, cost: Prices) -> None:
    for name in prices.__struct_fields__:
        if getattr(prices, name) < getattr(cost, name):
            field = f"prices.{name}"
            raise InvalidParameters(
                f"{field} is below the provider's own cost", field=field, expected="at least its cost"
            )

"""The gate is looked at before anything is sold, and every hour: a machine may sink below the floor while it works."""

import asyncio
from typing import Final

import structlog

from node.actions.gate import Gate

EVERY: Final = 3600.0
SHUT: Final = 60.0
"""The most seconds until the next look while nothing is sold: an engine may have died over the last one."""
AGAIN: Final = 5.0
"""Seconds until the next try while the engine does not answer, and until the second look after nothing was sold."""
_log = structlog.get_logger("gate")


async def run(gate: Gate) -> None:
    """Look until cancelled; a change is told once."""
    told: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    shut = AGAIN
    while True:
        is_known = await gate.look()
        if (gate.reasons, gate.risks) != told:
            told = gate.reasons, gate.risks
            _tell(gate)
        await asyncio.sleep((EVERY if gate.is_open else shut) if is_known else AGAIN)
        if is_known:
            shut = AGAIN if gate.is_open else min(SHUT, 2 * shut)


def _tell(gate: Gate) -> None:
    if not gate.is_open:
        _log.error("nothing is sold", reasons=gate.reasons, advice="repair it, or name it in provider.accept_risks")
    elif gate.risks:
        _log.warning("sold below the floor", accepted=gate.risks)
    else:
        _log.info("fit to sell")

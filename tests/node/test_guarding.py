"""What the watchdog hears: the containers of open leases, each with a margin after the node's own end of it."""

from pathlib import Path

import pytest

from market.leases import MARGIN, LeaseState
from node.loops.guarding import deadlines
from tests.builders import NOW
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState


@pytest.mark.parametrize(
    ("state", "is_guarded"), [(S.OFFERED, False), (S.STARTING, True), (S.RUNNING, True), (S.FINISHED, False)]
)
def test_a_container_may_run_as_long_as_its_lease_and_a_margin(
    tmp_path: Path, state: LeaseState, is_guarded: bool
) -> None:
    async def play(stage: Stage) -> None:
        await stage.lease("seller", state, until=NOW + 7)
        expected = {f"{LEASE}-a1": NOW + 7 + MARGIN} if is_guarded else {}
        assert deadlines(stage.storages["seller"]) == expected

    staged(tmp_path, play)

"""The engine's truth against ours: what nobody holds is removed, what somebody may still want is kept."""

from pathlib import Path

import pytest

from market.leases import LeaseState
from market.units import Seconds, Timestamp
from node.loops import reconcile
from node.loops.reconcile import GRACE
from node.ports import ContainerSpec
from tests.builders import NOW, resources
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
SPEC = ContainerSpec(
    name=f"{LEASE}-a1",
    lease=LEASE,
    image="busybox",
    command=("true",),
    env={},
    resources=resources(),
    timeout=Seconds(9),
)


@pytest.mark.parametrize(
    ("state", "age", "is_kept"),
    [
        (S.RUNNING, 10 * GRACE, True),
        (S.FINISHED, 10 * GRACE, True),
        (S.SETTLED, GRACE + 1, False),
        (None, GRACE + 1, False),
        (None, GRACE, True),
    ],
    ids=["at work", "to be collected", "settled", "unknown", "just made"],
)
def test_a_container_that_nobody_holds_is_removed(
    tmp_path: Path, state: LeaseState | None, age: int, is_kept: bool
) -> None:
    async def play(stage: Stage) -> None:
        if state is not None:
            await stage.lease("seller", state)
        stage.runtime.containers_by_name[SPEC.name] = (SPEC, Timestamp(NOW - age))
        removed = await reconcile.sweep(stage.storages["seller"], stage.runtime, NOW)
        assert (removed, SPEC.name in stage.runtime.containers_by_name) == (0 if is_kept else 1, is_kept)

    staged(tmp_path, play)

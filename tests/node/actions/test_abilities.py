"""What a provider refuses although no offer could have named it."""

import asyncio
from typing import Any

import pytest

from market.errors import Refused
from market.workloads import File, Probe, WorkloadKind
from node.actions.abilities import Abilities
from tests.builders import a_workload


async def services() -> tuple[str, ...]:
    return ("service",)


def codes(lacks: tuple[str, ...] = ("files", "probes"), **changes: Any) -> tuple[str, ...]:
    """Why a workload is refused."""
    abilities = Abilities([services], lacks)
    asyncio.run(abilities.look())
    with pytest.raises(Refused) as refused:
        abilities.check(a_workload(**{"outputs": (), **changes}))
    found: tuple[str, ...] = tuple(refused.value.details["codes"])
    return found


def test_what_a_machine_lacks_is_refused_by_its_name() -> None:
    file = File(path="a", digest="0" * 64, size=1)
    assert codes(outputs=("a",)) == codes(inputs=(file,)) == ("NOT_SOLD", "files")
    assert codes(kind=WorkloadKind.SERVICE, probe=Probe(kind="tcp", port=1)) == ("NOT_SOLD", "probes")
    assert codes(kind=WorkloadKind.BUILD, outputs=("a",)) == ("NOT_SOLD", "build", "files")


def test_the_rest_is_taken_and_who_lacks_nothing_takes_all() -> None:
    for lacks, outputs in ((("files", "probes"), ()), ((), ("a",))):
        abilities = Abilities([services], lacks)
        asyncio.run(abilities.look())
        abilities.check(a_workload(kind=WorkloadKind.SERVICE, outputs=outputs))

"""What pytest is told in a lane: which tests are its own; and that no test is left out, and none runs twice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

LANES: Final = ("engine", "others")
ENGINE_FIXTURES: Final = frozenset({"engine", "images"})
"""Whoever asks for one of these has the mark `docker`."""

OWN_ENGINES: Final = (
    "tests/node/adapters/test_gvisor.py",
    "tests/node/adapters/test_mount_counts.py",
    "tests/node/adapters/test_swarm_runtime.py",
    "tests/node/test_outfit.py",
    "tests/e2e/test_cycles.py",
    "tests/e2e/test_engine_outage.py",
    "tests/e2e/test_swarm.py",
)
"""These start engines of their own, which nobody else meets. They are with the others, for both lanes to be as long."""


class Share(msgspec.Struct, frozen=True):
    """The names of the tests that a lane has, and of those that it leaves to the other."""

    mine: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


def disagreements(shares: Sequence[Share]) -> list[str]:
    """What is wrong, one line each: either lane has some tests, and leaves to the other just what that one has."""
    one, two = shares
    return [
        *(f"the lane {name} has no tests" for name, share in zip(LANES, shares, strict=True) if not share.mine),
        *(f"not in just one lane: {name}" for name in sorted((one.mine ^ two.others) | (two.mine ^ one.others))),
    ]


def lane_of(item: pytest.Item) -> str:
    """Which lane a test belongs to; there is no third answer."""
    is_shared = item.get_closest_marker("docker") and item.location[0] not in OWN_ENGINES
    return "engine" if is_shared else "others"


# --- pytest's hooks ------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    lanes = parser.getgroup("lanes")
    lanes.addoption("--lane", choices=LANES, help="run the tests of this lane alone")
    lanes.addoption("--share", type=Path, help="the file to tell in which tests those are")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the lane's own tests, and tell which those are."""
    unmarked = [item.nodeid for item in items if _meets_the_engine(item) and not item.get_closest_marker("docker")]
    if unmarked:
        raise pytest.UsageError(f"these meet the container engine and lack the mark docker: {', '.join(unmarked)}")
    mine = [item for item in items if lane_of(item) == config.option.lane]
    others = [item for item in items if lane_of(item) != config.option.lane]
    share = Share(frozenset(item.nodeid for item in mine), frozenset(item.nodeid for item in others))
    config.option.share.write_bytes(msgspec.json.encode(share))
    config.hook.pytest_deselected(items=others)
    items[:] = mine


def _meets_the_engine(item: pytest.Item) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}  # one may be called "engine"
    return bool(ENGINE_FIXTURES.intersection(getattr(item, "fixturenames", ())) - parameters.keys())

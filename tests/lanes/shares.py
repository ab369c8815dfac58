"""What pytest is told in a lane: which tests are its own; and that no test is left out, and none runs twice."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest

from market.errors import NeugridError
from node.adapters.base_images import ensure_base_images
from node.adapters.builds.git_image import ensure_git_image
from node.adapters.sandboxes.docker import ensure_language_images

LANES: Final = ("engine", "others")
ENGINE_FIXTURES: Final = frozenset({"engine", "images"})
"""Whoever asks for one of these has the mark `docker`."""

MAKERS: Final = {"engine": ensure_base_images, "images": ensure_language_images, "git": ensure_git_image}
"""What makes the images that a fixture is about."""

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


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Make the images that the engine's tests ask for, if they are not there: minutes, which are no test's own."""
    options = session.config.option
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for name in MAKERS.keys() & asked if options.lane == "engine" and not options.collectonly else ():
        with suppress(NeugridError):  # the tests will say so
            asyncio.run(MAKERS[name]())


def _meets_the_engine(item: pytest.Item) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}  # one may be called "engine"
    return bool(ENGINE_FIXTURES.intersection(getattr(item, "fixturenames", ())) - parameters.keys())

"""`make attacks`: the whole corpus against every tier on an engine of its own, and what it did to the host.

The engine is in a namespace with an internet of its own, in which every address answers: so nothing that is tried
reaches anybody, and what is reached is seen.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import docker
import pytest
from msgspec import Struct

from market.errors import NeugridError
from market.workloads import Egress
from node.adapters.base_images import ensure_base_images
from node.adapters.sandboxes.docker import ensure_language_images
from node.adapters.sandboxes.languages import load_languages
from tests.attacks import stages
from tests.attacks.attack import TIERS, Result
from tests.attacks.corpus import attacks_of, play, scenes_of
from tests.attacks.host import Host, look
from tests.attacks.neighbours import GOAL, Slowdown, slowdowns
from tests.attacks.stages import Stage, Workloads
from tests.node.adapters import test_runtime_egress as destinations
from tests.node.adapters.egress.internet import Internet, an_internet
from tests.node.adapters.egress.nameserver import a_name_server
from tests.node.adapters.egress.targets import OUTSIDE
from tests.node.adapters.engines import a_node
from tests.node.adapters.test_gvisor import RUNTIMES

LEAST: Final = 60
"""Attacks that each tier must stand."""
WEB: Final = Egress(policy="web")


class Verdict(Struct, kw_only=True):
    """What a tier stood."""

    tier: str
    results: list[Result]
    changes: list[str]
    seconds: float
    before: str
    after: str

    @property
    def escapes(self) -> list[str]:
        return [f"{result.id}: {escape}" for result in self.results for escape in result.escapes]

    @property
    def wrong(self) -> list[str]:
        return [f"{result.id}: {result.end}" for result in self.results if not result.is_right]

    @property
    def is_good(self) -> bool:
        return len(self.results) >= LEAST and not (self.escapes or self.wrong or self.changes)


class Battlefield:
    """The engine that is attacked, and the folder of the node on it."""

    def __init__(self, internet: Internet, names: tuple[str, int], folder: Path) -> None:
        self.internet, self.names, self.folder = internet, names, folder

    @property
    def address(self) -> str:
        return self.internet.engine.address

    @asynccontextmanager
    async def stage(self, tier: str, egress: Egress | None = None) -> AsyncIterator[Stage]:
        """A stage of the tier; services go out into the web."""
        if tier == "code":
            async with stages.code(a_node(), self.address) as code:
                yield code
            return
        policy = egress or (WEB if tier == "service" else Egress())
        given = {"address": self.address, "kernel": self.internet.kernel, "nameservers": (self.names,)}
        async with stages.workloads(tier, a_node(), self.folder / "volumes", policy, **given) as workloads:
            yield workloads

    def look(self) -> Host:
        return look(self.folder, self.address)


async def attacked(field: Battlefield, tier: str) -> Verdict:
    """Play everything against a tier, between two looks at the host."""
    before, begun = field.look(), time.monotonic()
    async with field.stage(tier) as stage:
        results = await play(stage, attacks_of(tier), scenes_of(tier))
    seconds, after = time.monotonic() - begun, field.look()
    return Verdict(
        tier=tier, results=results, changes=before.changes(after), seconds=seconds, before=before.digest,
        after=after.digest,
    )  # fmt: skip


async def reached(field: Battlefield) -> dict[str, str]:
    """What is reached under each policy of the forbidden destinations: the egress test itself, run from here."""
    found = {}
    for name, egress in (("none", Egress()), ("web", WEB)):
        field.internet.forget()
        async with field.stage("batch") as stage:
            assert isinstance(stage, Workloads)
            try:
                await destinations.test_no_forbidden_place_is_reached(field.internet, stage.runtime, egress)
                found[name] = f"0 of {len(OUTSIDE)} and all of the host's own"
            except AssertionError as error:
                found[name] = f"REACHED: {str(error)[:300]}"
    return found


# --- what is printed -----------------------------------------------------------------------------------------------


def print_report(verdicts: list[Verdict], slow: list[Slowdown], places: dict[str, str]) -> None:
    print(f"\n{'tier':<9}{'attacks':>8}{'escapes':>9}{'host changes':>14}{'wrong ends':>12}{'seconds':>9}  host hash")
    for one in verdicts:
        same = one.before if one.before == one.after else f"{one.before} -> {one.after}"
        counts = f"{len(one.results):>8}{len(one.escapes):>9}{len(one.changes):>14}{len(one.wrong):>12}"
        print(f"{one.tier:<9}{counts}{one.seconds:>9.0f}  {same}")
    for one in verdicts:
        print_details(one)
    for policy, text in places.items():
        print(f"forbidden destinations under {policy}: {text} reached")
    for item in slow:
        mark = "" if item.wall < GOAL else "  MISSED"
        print(
            f"neighbour beside {item.attack:<13} {item.wall:+6.1f} % time, {item.honest:+6.1f} % against an honest tenant, "
            f"{item.processor:+6.1f} % processor (goal < {GOAL:.0f} % time, median of {item.pairs} pairs){mark}"
        )


def print_details(one: Verdict) -> None:
    groups = Counter(result.group for result in one.results)
    print(f"\n{one.tier}: " + ", ".join(f"{count} {group}" for group, count in groups.items()))
    lines = [*(f"ESCAPE {line}" for line in one.escapes), *(f"HOST {line}" for line in one.changes)]
    lines += [f"WRONG END {line}" for line in one.wrong]
    lines += [f"{result.id}: {result.end}" for result in one.results if result.end.startswith("left open")]
    print("\n".join(f"  {line}" for line in lines))


async def fought(options: argparse.Namespace, internet: Internet, folder: Path) -> int:
    verdicts: list[Verdict] = []
    async with a_name_server(destinations.KNOWN) as names:
        field = Battlefield(internet, names, folder)
        for tier in options.tiers:
            verdicts.append(await attacked(field, tier))
            print(f"{tier}: {len(verdicts[-1].results)} attacks in {verdicts[-1].seconds:.0f} s", flush=True)
        places = {} if options.quick else await reached(field)
        slow: list[Slowdown] = []
        if options.pairs:
            async with field.stage("batch") as stage:
                assert isinstance(stage, Workloads)
                slow = await slowdowns(stage, options.pairs)
    print_report(verdicts, slow, places)
    are_closed = all(text.startswith("0 of") for text in places.values())
    return 0 if all(one.is_good for one in verdicts) and are_closed else 1


@contextmanager
def a_battlefield(tiers: list[str]) -> Iterator[tuple[Internet, Path]]:
    """An engine of our own with the images that the tiers need."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as name, contextlib.ExitStack() as stack:
        internet = stack.enter_context(an_internet(Path(name), RUNTIMES if "gvisor" in tiers else None))
        if "code" in tiers:
            internet.load(load_languages().images["scripts"].reference)
        yield internet, Path(name)


def wanted_tiers(named: list[str]) -> list[str]:
    """The tiers that this machine can play; says which it can not."""
    asyncio.run(ensure_base_images())
    tiers = named or list(TIERS)
    if "gvisor" in tiers and shutil.which("runsc") is None:
        print("gvisor: not played, for runsc is not installed (`apt install runsc`)")
        tiers.remove("gvisor")
    if "code" in tiers:
        try:
            asyncio.run(ensure_language_images())
        except NeugridError as error:
            print(f"code: not played, for there are no images: {error}")
            tiers.remove("code")
    return tiers


def main() -> int:
    parser = argparse.ArgumentParser(prog="make attacks", description=__doc__.partition("\n")[0])
    parser.add_argument("tiers", nargs="*", help=f"of {', '.join(TIERS)}; all of them without")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of measurements of a neighbour, 0 for none")
    parser.add_argument("--quick", action="store_true", help="without the forbidden destinations")
    options = parser.parse_args()
    try:
        options.tiers = wanted_tiers(options.tiers)
        with a_battlefield(options.tiers) as (internet, folder):
            return asyncio.run(fought(options, internet, folder))
    except (pytest.skip.Exception, docker.errors.DockerException, NeugridError) as reason:
        print(f"attacks can not be played here: {reason}")
        return 1


if __name__ == "__main__":
    sys.exit(main())

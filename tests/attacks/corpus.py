"""The whole corpus by tier, and how it is played."""

import asyncio
import traceback
from collections.abc import Sequence
from typing import Final

from node.adapters.docker_engine.volumes import has_loop_devices
from tests.attacks.attack import Attack, Result
from tests.attacks.doors import DOORS
from tests.attacks.floods import FLOODS
from tests.attacks.images import IMAGES
from tests.attacks.kernel import KERNEL
from tests.attacks.leftovers import LEFTOVERS
from tests.attacks.outputs import OUTPUTS
from tests.attacks.places import PLACES
from tests.attacks.scenes import Scene
from tests.attacks.stages import Code, Stage

ATTACKS: Final[tuple[Attack, ...]] = (*KERNEL, *PLACES, *FLOODS)
SCENES: Final[tuple[Scene, ...]] = (*OUTPUTS, *IMAGES, *DOORS, *LEFTOVERS)
WITHIN: Final = 120.0
"""Seconds that a scene may take."""


def attacks_of(tier: str, ids: Sequence[str] = ()) -> tuple[Attack, ...]:
    """The attacks of a tier, or those of them that are named."""
    return tuple(one for one in ATTACKS if tier in one.tiers and (not ids or one.id in ids))


def scenes_of(tier: str, ids: Sequence[str] = ()) -> tuple[Scene, ...]:
    """The scenes of a tier, or those of them that are named."""
    return tuple(one for one in SCENES if tier in one.tiers and (not ids or one.id in ids))


async def play(stage: Stage, attacks: Sequence[Attack], scenes: Sequence[Scene]) -> list[Result]:
    """Play these, one after the other; the quiet ones together."""
    quiet = [attack for attack in attacks if attack.is_quiet]
    results = await stage.play_together(quiet) if quiet else []
    for attack in attacks:
        if not attack.is_quiet:
            results.append(await stage.play(attack))
    for scene in scenes:
        results.append(await _scene(stage, scene))
    return results


async def _scene(stage: Stage, scene: Scene) -> Result:
    try:
        async with asyncio.timeout(WITHIN):
            found = await scene.play(stage)
    except Exception as error:
        told = traceback.format_exception_only(error)[-1].strip()[:160]
        return Result(id=scene.id, group=scene.group, end=told, is_right=False)
    escapes = () if scene.left else tuple(found)
    end = f"left open: {scene.left}" if scene.left and found else "as it should"
    return Result(id=scene.id, group=scene.group, end=end, is_right=True, escapes=escapes)


def needs_of(stage: Stage) -> str:
    """Why this machine can not play the tier; "" when it can."""
    return "" if isinstance(stage, Code) or has_loop_devices() else "outputs need loop devices"

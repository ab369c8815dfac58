"""The two images that every node has: taken as they are, pulled, or built here where no registry answers.

A recipe is `configs/images/<name>/rootfs.sh`. Each image has the hash of all of them, for one calls another.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node.adapters.docker_engine.calls import Engine
from node.adapters.image_bench import Bench, Recipe, Told

RECIPES: Final = Path(__file__).parents[2] / "configs" / "images"
BASE_IMAGES: Final = {"busybox:latest": "busybox", "python:3.11-slim": "python"}
"""Reference -> folder of the recipe."""
COMMANDS: Final = {"busybox": "sh", "python": "python3"}


async def ensure_base_images(
    address: str = "",
    told: Told = lambda _: None,
    recipes: Path = RECIPES,
    images: Mapping[str, str] = BASE_IMAGES,
) -> dict[str, str]:
    """Make every base image available and say how each was had: "present", "pulled" or "built".

    The registry is asked at most once in vain (`PATIENCE` seconds). Raises Unavailable without an engine, and
    ImageNotFound with the recipe's own words when an image can neither be pulled nor built.
    """
    engine = Engine(address, workers=2)
    try:
        bench = Bench(engine, told)
        return {reference: await bench.ensure(_recipe(recipes, reference, name)) for reference, name in images.items()}
    finally:
        engine.close()


def _recipe(recipes: Path, reference: str, name: str) -> Recipe:
    return Recipe(
        reference=reference,
        script=recipes / name / "rootfs.sh",
        hash=_hash(recipes),
        command=COMMANDS.get(name, "sh"),
    )


def _hash(recipes: Path) -> str:
    scripts = sorted(recipes.glob("*/rootfs.sh"))
    return hashlib.sha256(b"\0".join(script.read_bytes() for script in scripts)).hexdigest()

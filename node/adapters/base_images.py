"""The two images that every node has: taken as they are, pulled, or built here where no registry answers.

A recipe is `configs/images/<name>/rootfs.sh`: it writes a root file system as a tar stream, which becomes an image of
one layer. The image is labelled with the hash of all recipes, so that a changed recipe is built again, and an image
that somebody pulled or made is left alone.
"""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Final

from market.errors import Conflict, ImageNotFound, NotFound, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.images import Images
from node.adapters.images.limits import ImageLimits
from node.adapters.images.references import parse_reference

RECIPES: Final = Path(__file__).parents[2] / "configs" / "images"
BASE_IMAGES: Final = {"busybox:latest": "busybox", "python:3.11-slim": "python"}
"""Reference -> folder of the recipe."""
COMMANDS: Final = {"busybox": "sh", "python": "python3"}
RECIPE_LABEL: Final = "neugrid.recipe"
BUILD_LIMIT: Final = 600.0

Told = Callable[[str], None]


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
        bench = _Bench(engine, recipes, told, {parse_reference(reference).registry for reference in images})
        return {reference: await bench.ensure(reference, folder) for reference, folder in images.items()}
    finally:
        engine.close()


class _Bench:
    def __init__(self, engine: Engine, recipes: Path, told: Told, registries: Collection[str]) -> None:
        self._engine = engine
        self._images = Images(engine, ImageLimits(registries=("*", *registries), keep_free=0))
        self._recipes = recipes
        self._told = told
        self._registry_answers = True

    async def ensure(self, reference: str, folder: str) -> str:
        label = await self._label(reference)
        if label in ("", self._hash()):
            return "present"
        if label is None and await self._pull(reference):
            return "pulled"
        self._told(f"building {reference} on this machine")
        await self._build(reference, folder)
        return "built"

    async def _label(self, reference: str) -> str | None:
        """The recipe's hash on the local image, "" when it was not built by us, None when there is no image."""
        try:
            found = await self._engine.call(lambda client: client.inspect_image(reference))
        except NotFound:
            return None
        return str(((found.get("Config") or {}).get("Labels") or {}).get(RECIPE_LABEL, ""))

    async def _pull(self, reference: str) -> bool:
        if not self._registry_answers:
            return False
        self._told(f"pulling {reference}")
        try:
            found = await self._images.ensure(reference)
            repository, _, tag = reference.rpartition(":")
            await self._engine.call(lambda client: client.tag(found.id, repository, tag))
        except ImageNotFound:
            self._registry_answers = False
        return self._registry_answers

    async def _build(self, reference: str, folder: str) -> None:
        changes = [f'CMD ["{COMMANDS.get(folder, "sh")}"]', f"LABEL {RECIPE_LABEL}={self._hash()}"]
        repository, _, tag = reference.rpartition(":")
        before = await self._id(reference)
        with tempfile.TemporaryFile() as archive:
            await asyncio.to_thread(_write_rootfs, self._recipes / folder / "rootfs.sh", archive)
            await self._engine.call(lambda client: _import(client, archive, repository, tag, changes))
        if before:
            with contextlib.suppress(NotFound, Conflict):  # Conflict: a container still uses it
                await self._engine.call(lambda client: client.remove_image(before))

    async def _id(self, reference: str) -> str:
        """The id of the local image, "" when there is none."""
        try:
            return (await self._images.local(reference)).id
        except NotFound:
            return ""

    def _hash(self) -> str:
        """One hash over all recipes: one of them calls another."""
        scripts = sorted(self._recipes.glob("*/rootfs.sh"))
        return hashlib.sha256(b"\0".join(script.read_bytes() for script in scripts)).hexdigest()


def _write_rootfs(script: Path, archive: IO[bytes]) -> None:
    """Run the recipe into a file and not into a pipe: half of an archive makes a valid-looking image."""
    interpreter = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    environment = {**os.environ, "PYTHON": interpreter}
    command = ["/bin/sh", str(script)]
    try:
        subprocess.run(  # noqa: S603 (our own script)
            command, stdout=archive, stderr=subprocess.PIPE, env=environment, timeout=BUILD_LIMIT, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()[-300:]
        raise ImageNotFound(f"{script}: the image can not be built here: {said or error}") from error


def _import(client: Client, archive: IO[bytes], repository: str, tag: str, changes: list[str]) -> None:
    archive.seek(0)
    where = f"{client.base_url}/v{client.api_version}/images/create"
    wanted = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": changes}
    answer = client.post(where, params=wanted, data=archive, headers={"Content-Type": "application/tar"}, timeout=300)
    if answer.status_code != 200 or "error" in answer.text:
        raise Unavailable(f"the engine refused the image: {answer.text.strip()[:300]}", service="docker")

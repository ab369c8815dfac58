"""Images made on this machine: taken as they are, pulled, or built from a recipe where no registry answers.

A recipe is a script that writes a root file system as a tar stream, which becomes an image of one layer. The image is
labelled with the recipe's hash, so that a changed recipe is built again, and an image that somebody pulled or made is
left alone.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from msgspec import Struct

from market.errors import Conflict, ImageNotFound, NotFound, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.images import Images
from node.adapters.images.limits import ImageLimits
from node.adapters.images.references import parse_reference

RECIPE_LABEL: Final = "neugrid.recipe"
BUILD_LIMIT: Final = 600.0

Told = Callable[[str], None]


class Recipe(Struct, frozen=True, kw_only=True):
    """How an image is had: `hash` covers everything that decides what is in it."""

    reference: str
    script: Path | None
    """Writes the root file system; None when the image can only be pulled."""
    hash: str
    variables: dict[str, str] = {}
    """Given to the script as its environment."""
    command: str = "sh"
    is_published: bool = True
    """Whether to ask a registry first: never for a name that we do not own there."""


class Bench:
    """Makes the images of recipes available on one engine; a registry is asked at most once in vain."""

    def __init__(self, engine: Engine, told: Told) -> None:
        self._engine = engine
        self._told = told
        self._registry_answers = True

    async def ensure(self, recipe: Recipe) -> str:
        """How the image was had: "present", "pulled" or "built".

        Raises Unavailable without an engine, and ImageNotFound with the script's own words when it fails.
        """
        label = await self._label(recipe.reference)
        if label in ("", recipe.hash):
            return "present"
        if label is None and recipe.is_published and await self._pull(recipe.reference):
            return "pulled"
        if recipe.script is None:
            raise ImageNotFound(f"no registry gave {recipe.reference}", image=recipe.reference)
        self._told(f"building {recipe.reference} on this machine")
        await self._build(recipe, recipe.script)
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
        registries = ("*", parse_reference(reference).registry)
        try:
            found = await Images(self._engine, ImageLimits(registries=registries, keep_free=0)).ensure(reference)
            repository, _, tag = reference.rpartition(":")
            await self._engine.call(lambda client: client.tag(found.id, repository, tag))
        except ImageNotFound:
            self._registry_answers = False
        return self._registry_answers

    async def _build(self, recipe: Recipe, script: Path) -> None:
        changes = [f'CMD ["{recipe.command}"]', f"LABEL {RECIPE_LABEL}={recipe.hash}"]
        repository, _, tag = recipe.reference.rpartition(":")
        before = await self._id(recipe.reference)
        with tempfile.TemporaryFile() as archive:
            await asyncio.to_thread(_write_rootfs, script, recipe.variables, archive)
            await self._engine.call(lambda client: _import(client, archive, repository, tag, changes))
        if before:
            with contextlib.suppress(NotFound, Conflict):  # Conflict: a container still uses it
                await self._engine.call(lambda client: client.remove_image(before))

    async def _id(self, reference: str) -> str:
        """The id of the local image, "" when there is none."""
        try:
            found = await self._engine.call(lambda client: client.inspect_image(reference))
        except NotFound:
            return ""
        return str(found["Id"])


def _write_rootfs(script: Path, variables: dict[str, str], archive: IO[bytes]) -> None:
    """Run the recipe into a file and not into a pipe: half of an archive makes a valid-looking image."""
    interpreter = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    environment = {**os.environ, "PYTHON": interpreter, **variables}
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

"""`Builder` on a Docker Engine: a clone in its own container, then the engine's classic builder within limits.

The classic builder and not BuildKit, which heeds no limits. Every step is bounded in memory, cores and processes, and
joins the namespace of a container of ours, which holds the egress policy. No step is taken from a cache: what one
requester's left must not be what another's begins with. A whole image is, for who had it built, of the same commit.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from market.builds import RESULT
from market.errors import (
    Conflict,
    ImageNotFound,
    ImageRefused,
    InvalidParameters,
    NeugridError,
    NotFound,
    OutputRefused,
    Unavailable,
)
from market.workloads import Source, files_limit
from node.adapters.builds.context import context
from node.adapters.builds.dockerfile import Instruction, Step, images_in, read_dockerfile, steps_of
from node.adapters.builds.git_image import REFERENCE
from node.adapters.builds.ignoring import MAX_SIZE, Ignored
from node.adapters.builds.recipes import load_recipes, recipe_for
from node.adapters.builds.refusals import Refusal
from node.adapters.builds.settings import BuildSettings
from node.adapters.builds.words import KILLED, Told, Words
from node.adapters.docker_engine.build_guard import Guard
from node.adapters.docker_engine.build_places import BuildPlaces
from node.adapters.docker_engine.build_remains import remove_containers, remove_images
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.checkouts import Checkout, Checkouts
from node.adapters.docker_engine.images import Images
from node.adapters.docker_engine.outputs import ChunkStream, store_file, sync_folder
from node.adapters.docker_engine.profile import BUILD_LABEL, shares_of
from node.adapters.docker_engine.streaming import Streamed
from node.adapters.egress.ability import STATUS, may_look
from node.adapters.egress.card import card_rules
from node.adapters.egress.namespace import load_nowhere
from node.ports import BuildEnd, BuildSpec, Clock, Hear, OutputFile, Runtime

DOCKERFILE: Final = "Dockerfile"
MAX_DOCKERFILE: Final = 256 * 1024
TAR: Final = "application/x-tar"
SETTLE: Final = 10.0
"""Seconds that the engine may take to let go of a build whose reader is gone."""


class DockerBuilder:
    """Builds for one node; `places` are the namespaces that steps join."""

    def __init__(
        self,
        engine: Engine,
        runtime: Runtime,
        images: Images,
        places: BuildPlaces,
        settings: BuildSettings,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._runtime = runtime
        self._images = images
        self._places = places
        self._settings = settings
        self._clock = clock
        self._checkouts = Checkouts(engine, runtime, settings)
        self._recipes = load_recipes(settings.recipes)
        self._preparing = asyncio.Lock()
        self._is_prepared = False
        self._is_able = False

    async def abilities(self) -> tuple[str, ...]:
        """What offers name: "build" where the image that clones is here, and steps can be held to what they may."""
        try:
            await self._engine.call(lambda client: client.inspect_image(REFERENCE))
        except NotFound:
            return ()
        self._is_able = self._is_able or await _can_hold_steps()
        return ("build",) if self._is_able else ()

    async def ready(self) -> str:
        """The id of the image that clones; NotFound when it is not here."""
        return (await self._images.local(REFERENCE)).id

    async def build(self, spec: BuildSpec, store: Path, hear: Hear) -> BuildEnd:
        """Clone, build, put the image into `store`; a build that is cancelled or fails leaves nothing."""
        told, kept = Told(hear, self._clock.now), ""
        try:
            await self._prepare()
            async with asyncio.timeout(spec.timeout):
                end = await self._made(spec, store, told)
            kept = end.image
            return end
        except TimeoutError:
            return _failed(told, Refusal(f"the build took longer than {spec.timeout} seconds", "TIMEOUT", -1))
        except Refusal as refusal:
            return _failed(told, refusal)
        except (ImageNotFound, ImageRefused, InvalidParameters) as error:
            return _failed(told, Refusal(error.message))
        except NeugridError as error:
            return _failed(told, Refusal(error.message, "INFRASTRUCTURE", -1))
        finally:
            with contextlib.suppress(NeugridError):  # the engine is away: the lease's own sweep comes again
                await asyncio.shield(self._clear(spec.name, kept))

    async def sweep(self, name: str) -> None:
        """Remove what a build of this name left behind; its image stays, when it was kept."""
        await self._prepare()
        await self._clear(name, "")

    async def _prepare(self) -> None:
        """Once: remove what builds of an earlier life left."""
        async with self._preparing:
            if not self._is_prepared:
                await self._remove(self._places.label(""), await self._images.kept())
                self._is_prepared = True

    async def _made(self, spec: BuildSpec, store: Path, told: Told) -> BuildEnd:
        told.begin(f"clone {spec.source.url}" + (f" at {spec.source.ref}" if spec.source.ref else ""))
        async with self._checkouts.clone(spec, told) as checkout:
            told.begin("plan")
            instructions = await self._instructions(spec.source, checkout, told)
            ignored = await self._ignored(checkout)
            told.begin("images")
            ids = {name: await self._base(name, spec, told) for name in images_in(instructions)}
            key = _key(spec, checkout.commit, steps_of(instructions, ids, ""))
            if cached := await self._images.built(key):
                image = cached
                told.begin("cached")
                told.line("stdout", f"{image} was built of the same commit within a day")
            else:
                steps = steps_of(instructions, ids, self._labels(spec, checkout.commit))
                async with self._places.open(spec) as place:
                    image = await self._built(spec, steps, checkout, ignored, place, told)
        told.begin("export")
        archive = await self._exported(spec, image, store)
        if not cached:
            await self._images.adopt(image, spec.requester, key)
        told.end()
        return BuildEnd(image=image, archive=archive)

    async def _instructions(self, source: Source, checkout: Checkout, told: Told) -> tuple[Instruction, ...]:
        """Those of the repository's Dockerfile, or of the recipe that fits it."""
        name = source.dockerfile or DOCKERFILE
        with contextlib.suppress(NotFound):
            body = await checkout.read(name, MAX_DOCKERFILE)
            told.line("stdout", f"by its {name}")
            return read_dockerfile(body)
        if source.dockerfile:
            raise Refusal(f"there is no {source.dockerfile} in the repository")
        there = {file for recipe in self._recipes for file in recipe.files if await checkout.has(file)}
        recipe = recipe_for(self._recipes, there.__contains__)
        if recipe is None:
            looked = ", ".join(file for each in self._recipes for file in each.files)
            raise Refusal(f"there is no {DOCKERFILE}, and nothing that says how to build: none of {looked}")
        told.line("stdout", f"there is no {DOCKERFILE}: by the recipe {recipe.name}")
        return read_dockerfile(recipe.dockerfile)

    async def _ignored(self, checkout: Checkout) -> Ignored:
        try:
            return Ignored((await checkout.read(".dockerignore", MAX_SIZE)).decode(errors="replace"))
        except NotFound:
            return Ignored("")

    async def _base(self, name: str, spec: BuildSpec, told: Told) -> str:
        """The id of an image that a job of this requester could have too, and that brings no instructions along."""
        image = await self._images.ensure(name, spec.requester)
        found = await self._engine.call(lambda client: client.inspect_image(image.id))
        if (found.get("Config") or {}).get("OnBuild"):
            raise Refusal(f"the image {name[:120]} has instructions for those who build upon it (ONBUILD)")
        told.line("stdout", f"{name[:200]} is {image.id}")
        return image.id

    def _labels(self, spec: BuildSpec, commit: str) -> str:
        labels = {
            BUILD_LABEL: self._places.label(spec.name),
            "org.opencontainers.image.source": spec.source.url,
            "org.opencontainers.image.revision": commit,
        }
        return " ".join(f'"{name}"="{value}"' for name, value in labels.items())

    async def _built(
        self, spec: BuildSpec, steps: tuple[Step, ...], checkout: Checkout, ignored: Ignored, place: str, told: Told
    ) -> str:
        words = Words(told, steps)
        guard = Guard(self._engine, place, self._places.label(spec.name), spec.resources, self._settings.processes)
        given = {
            "networkmode": f"container:{place}",
            "cgroupparent": await self._places.group.parent(),
            **_limits(spec),
        }
        pouring = self._pouring(given, steps, checkout, ignored, words)
        building, guarding = asyncio.create_task(pouring.done()), asyncio.create_task(guard.run())
        try:
            await asyncio.wait({building, guarding}, return_when=asyncio.FIRST_COMPLETED)
            if guarding.done():
                guarding.result()
            await _as_refusal(building)
        finally:
            pouring.close()
            for task in (building, guarding):
                task.cancel()
            await asyncio.gather(building, guarding, return_exceptions=True)
        words.flush()
        if words.problem:
            raise await _failure(words, guard)
        return words.image

    def _pouring(
        self,
        given: dict[str, Any],
        steps: tuple[Step, ...],
        checkout: Checkout,
        ignored: Ignored,
        words: Words,
    ) -> Streamed[None]:
        loop, name = asyncio.get_running_loop(), f".neugrid-{secrets.token_hex(8)}"
        text = "".join(f"{step.line}\n" for step in steps).encode()
        given = {**given, "dockerfile": name}

        def body() -> Iterator[bytes]:
            for chunk in context(checkout.stream(), (name, text), ignored, self._settings.max_repository):
                if pouring.is_closed:
                    raise Refusal("nobody waits for this build any more")
                yield chunk

        def read(stream: Any) -> None:
            for item in _messages(stream):
                loop.call_soon_threadsafe(words.take, item)

        pouring = Streamed(self._engine, lambda: self._engine.post_stream("/build", body(), TAR, **given), read)
        return pouring

    async def _exported(self, spec: BuildSpec, image: str, store: Path) -> OutputFile:
        await asyncio.to_thread(store.mkdir, parents=True, exist_ok=True)
        limit = files_limit(spec.resources)

        def save(stream: Any) -> OutputFile:
            size = _Counted(limit)
            digest = store_file(ChunkStream(size.of(stream)), store)
            sync_folder(store)
            return OutputFile(path=RESULT, digest=digest, size=size.seen)

        try:
            return await Streamed(self._engine, lambda: self._engine.stream(f"/images/{image}/get"), save).done()
        except OutputRefused as error:
            raise Refusal(f"the image is too large: {error.message}", "BUILD_TOO_LARGE") from error

    async def _clear(self, name: str, kept: str) -> None:
        """Once the engine has let go of the build; what it does not let go of is taken from it."""
        keep = await self._images.kept()
        with contextlib.suppress(Conflict):  # somebody removes it in this moment
            await self._runtime.remove(name)
        await self._places.close(name, SETTLE)
        await self._remove(self._places.label(name), keep | {kept})

    async def _remove(self, label: str, keep: frozenset[str]) -> None:
        await self._engine.call(lambda client: remove_containers(client, label))
        await self._engine.call(lambda client: remove_images(client, label, keep))


class _Counted:
    def __init__(self, limit: int) -> None:
        self.seen = 0
        self._limit = limit

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.seen += len(chunk)
            if self.seen > self._limit:
                raise OutputRefused(f"its archive has more than {self._limit} bytes", limit=self._limit)
            yield chunk


async def _as_refusal(building: "asyncio.Task[None]") -> None:
    """What the engine does not take of a Dockerfile is its author's fault."""
    try:
        await building
    except InvalidParameters as error:
        raise Refusal(error.message[:300]) from error


async def _failure(words: Words, guard: Guard) -> Refusal:
    code = words.exit_code
    if code == KILLED and await guard.had_oom():
        return Refusal("it used more memory than was ordered", "OUT_OF_MEMORY", code)
    is_exit = "non-zero code" in words.problem
    return Refusal(f"it ended with exit code {code}" if is_exit else words.problem, "BUILD_FAILED", code)


def _key(spec: BuildSpec, commit: str, steps: tuple[Step, ...]) -> str:
    """What has to be the same for an image to be the same, and whose it is."""
    source = [spec.requester, spec.source.url, spec.source.folder, commit, spec.egress.policy]
    return hashlib.sha256(json.dumps([*source, *(step.line for step in steps)]).encode()).hexdigest()


def _failed(told: Told, refusal: Refusal) -> BuildEnd:
    message = told.failure(refusal.message)
    told.end(refusal.message)
    return BuildEnd(code=refusal.code, message=message, exit_code=refusal.exit_code)


def _limits(spec: BuildSpec) -> dict[str, Any]:
    memory = spec.resources.memory
    return {
        "nocache": 1,
        "rm": 1,
        "forcerm": 1,
        "memory": memory,
        "memswap": memory,
        "cpushares": shares_of(spec.resources.cpu),
        "cpuperiod": 100_000,
        "cpuquota": max(1000, spec.resources.cpu * 100),
        "ulimits": json.dumps([{"Name": "nofile", "Soft": 4096, "Hard": 4096}, {"Name": "core", "Soft": 0, "Hard": 0}]),
    }


def _messages(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > 2**20:
            raise OutputRefused("the engine's words make no sense")
        yield from (json.loads(line) for line in lines if line.strip())


async def _can_hold_steps() -> bool:
    """Whether the node may open namespaces, and the kernel filters at a card: without that no step is let out."""
    try:
        await load_nowhere(card_rules("192.0.2.1", "02:00:00:00:00:01", (), card="lo"))
        return may_look(STATUS.read_text())
    except (OSError, Unavailable):
        return False

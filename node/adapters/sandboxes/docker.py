"""`Sandboxes` on a Docker Engine: one fresh sandbox for every piece of code, from a warm pool."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from market.errors import InvalidParameters, NeugridError, NotFound, Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.profile import NODE_LABEL, SANDBOX_LABEL
from node.adapters.docker_engine.settings import read_seccomp
from node.adapters.docker_engine.slots import Slots
from node.adapters.image_bench import Bench, Told
from node.adapters.sandboxes.languages import LANGUAGES, Dialect, Languages, Limits, load_languages
from node.adapters.sandboxes.pool import Pool
from node.adapters.sandboxes.profile import CODE, SCRATCH
from node.adapters.sandboxes.protocol import Prepare, Run
from node.adapters.sandboxes.sandbox import Sandbox, Sandboxer
from node.adapters.sandboxes.settings import SandboxSettings
from node.adapters.sandboxes.verdict import SANDBOX, failed, judge_compilation, judge_run
from node.ports import CodeResult, CodeRun, CodeSpec, Language

GRACE: Final = 15.0
"""Seconds beyond a limit that the agent may take to clear away and to answer, under load."""
MAX_CODE: Final = 2**20
MAX_INPUT: Final = 4 * 2**20
MAX_INPUTS: Final = 100
PATHS: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Final = {"PATH": PATHS, "HOME": SCRATCH, "TMPDIR": SCRATCH, "USER": "code", "LANG": "C.UTF-8"}
VERSION: Final = re.compile(r"\d+(\.\d+)+")
PROBE: Final = 10.0
"""Seconds that a program may take to tell its version."""


async def ensure_language_images(
    names: tuple[str, ...] = (),
    address: str = "",
    told: Told = lambda _: None,
    languages: Languages | None = None,
) -> dict[str, str]:
    """Make the images of the languages `names` (all, without any) available: "present", "pulled" or "built" each.

    Raises NotFound for an unknown language, Unavailable without an engine, ImageNotFound with the builder's own words
    when an image can not be had; those before it stay.
    """
    recipes = (languages or load_languages(LANGUAGES)).recipes(names)
    engine = Engine(address, workers=2)
    try:
        bench = Bench(engine, told)
        return {recipe.reference: await bench.ensure(recipe) for recipe in recipes}
    finally:
        engine.close()


class DockerSandboxes:
    """Runs code in the languages whose image is here."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._languages = load_languages(settings.languages)
        seccomp = read_seccomp(settings.seccomp)
        self._engine = Engine(settings.address)
        self._slots = _slots(self._engine, settings, seccomp)
        self._maker = Sandboxer(self._engine, self._slots, settings, self._languages.limits, seccomp)
        self._pool = Pool(self._maker, settings.idle)
        self._places = asyncio.Semaphore(settings.at_once)
        self._preparing = asyncio.Lock()
        self._tending: asyncio.Task[None] | None = None
        self._images: dict[str, str] = {}
        """Reference -> id of the images that are here."""
        self._versions: dict[str, dict[str, str]] = {}
        """Id of an image -> version of each language that works in it."""

    @property
    def waiting(self) -> dict[str, int]:
        """How many sandboxes wait for code now, by the reference of their image."""
        idle = self._pool.idle
        return {reference: idle.get(image, 0) for reference, image in self._images.items()}

    async def languages(self) -> tuple[Language, ...]:
        """The languages whose image is here and whose program tells its version; Unavailable without an engine."""
        await self._prepare()
        await self._look()
        versions = [await self._versions_in(image) for image in set(self._images.values())]
        return tuple(
            Language(name=name, version=found[name], aliases=dialect.aliases, is_compiled=bool(dialect.compile))
            for name, dialect in self._languages.dialects.items()
            for found in versions
            if name in found
        )

    async def warm_up(self) -> None:
        """Do now what the first code would wait for: clean up, look for images, fill the pool."""
        await self.languages()
        if self._slots:
            await self._slots.open()
        await self._pool.filled()

    async def run(self, spec: CodeSpec) -> CodeResult:
        """Run code in a sandbox of its own.

        Raises NotFound for a language that is not offered, InvalidParameters for code or input that is too large,
        Unavailable when no sandbox can be had in time, or when the engine went away under it.
        """
        name = self._languages.named(spec.language)
        _check(spec)
        await self._prepare()
        image = await self._image_of(name)
        begun = time.monotonic()
        async with self._fresh(image, begun) as sandbox:
            waited = _since(begun)
            result = await _Errand(sandbox, self._languages, name).do(spec, waited)
        if any(run.error == SANDBOX for run in result.runs):
            await self._engine.call(lambda _: self._engine.greet())  # an engine that died took the sandbox along
        return result

    async def close(self) -> None:
        """Remove what waits unused and let go of the engine."""
        if self._tending is not None:
            self._tending.cancel()
        await self._pool.close()
        if self._slots:
            await self._slots.close()
        self._engine.close()

    async def _prepare(self) -> None:
        """Once: remove what an earlier life left, and begin to tend the pool."""
        async with self._preparing:
            if self._tending is None:
                await self._sweep()
                if self._slots:
                    self._slots.open_soon()
                self._tending = asyncio.create_task(self._pool.tend())

    async def _sweep(self) -> None:
        filters = {"label": [f"{NODE_LABEL}={self._settings.node}", SANDBOX_LABEL]}
        for item in await self._engine.call(lambda client: client.containers(all=True, filters=filters)):
            await self._maker.remove(item["Id"])

    async def _look(self) -> None:
        """Which of the images are here."""
        found: dict[str, str] = {}
        for recipe in self._languages.images.values():
            with contextlib.suppress(NotFound):
                found[recipe.reference] = await self._image_id(recipe.reference)
        self._images = found
        self._pool.serve(set(found.values()))

    async def _image_id(self, reference: str) -> str:
        found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_image(reference))
        return str(found["Id"])

    async def _image_of(self, name: str) -> str:
        reference = self._languages.reference(name)
        if reference not in self._images:
            await self._look()
        if reference not in self._images:
            raise NotFound(f"{name} is not offered here: there is no image {reference}", language=name)
        return self._images[reference]

    @contextlib.asynccontextmanager
    async def _fresh(self, image: str, begun: float) -> AsyncIterator[Sandbox]:
        """A sandbox of our own, gone afterwards."""
        patience = self._settings.patience
        try:
            await asyncio.wait_for(self._places.acquire(), patience)
        except TimeoutError:
            raise Unavailable(f"no sandbox was free within {patience:g} seconds", service="sandbox") from None
        try:
            sandbox = await self._pool.take(image, max(0.1, begun + patience - time.monotonic()))
            try:
                yield sandbox
            finally:
                self._pool.done(sandbox)
        finally:
            self._places.release()

    async def _versions_in(self, image: str) -> dict[str, str]:
        if image not in self._versions:
            async with self._fresh(image, time.monotonic()) as sandbox:
                await sandbox.ask(_nothing(sandbox.nonce), PROBE + GRACE)
                self._versions[image] = {
                    name: version
                    for name, dialect in self._languages.dialects.items()
                    if self._images.get(self._languages.reference(name)) == image
                    if (version := await _version(sandbox, dialect))
                }
        return self._versions[image]


class _Errand:
    """One piece of code in its sandbox."""

    def __init__(self, sandbox: Sandbox, languages: Languages, name: str) -> None:
        self._sandbox = sandbox
        self._dialect: Dialect = languages.dialects[name]
        self._limits: Limits = languages.limits_of(name)

    async def do(self, spec: CodeSpec, waited: int) -> CodeResult:
        """Compile once, run for each input; whatever the sandbox does is an answer and no error."""
        begun = time.monotonic()
        try:
            failure = await self._compile(spec)
        except Unavailable as error:
            failure = failed(SANDBOX, str(error))
        compiling = _since(begun) if self._dialect.compile else 0
        runs = (failure,) if failure else tuple([run async for run in self._runs(spec)])
        return CodeResult(runs=runs, waited=waited, compiling=compiling)

    async def _compile(self, spec: CodeSpec) -> CodeRun | None:
        limits, dialect = self._limits, self._dialect
        order = Prepare(
            nonce=self._sandbox.nonce,
            file=dialect.file,
            code=spec.code,
            command=_command(dialect.compile),
            env=ENVIRONMENT,
            seconds=limits.compile,
            output=limits.output,
        )
        ended = await self._sandbox.ask(order, limits.compile + GRACE)
        return None if ended.skipped else judge_compilation(ended, limits)

    async def _runs(self, spec: CodeSpec) -> AsyncIterator[CodeRun]:
        """One for each input; after a sandbox has failed, none of the rest is tried in it."""
        broken = ""
        for text in spec.inputs:
            if not broken:
                try:
                    yield await self._run(text)
                    continue
                except Unavailable as error:
                    broken = str(error)
            yield failed(SANDBOX, broken)

    async def _run(self, text: str) -> CodeRun:
        limits, dialect = self._limits, self._dialect
        order = Run(
            command=_command(dialect.run), env=ENVIRONMENT, seconds=limits.run, output=limits.output, stdin=text
        )
        ended = await self._sandbox.ask(order, limits.run + GRACE)
        return judge_run(ended, limits, dialect.memory_words)


def _nothing(nonce: str) -> Prepare:
    """An order without code: the agent wants one before it runs anything."""
    return Prepare(nonce=nonce, file="nothing", code="", command=(), env=ENVIRONMENT, seconds=PROBE, output=4096)


async def _version(sandbox: Sandbox, dialect: Dialect) -> str:
    """What the language's program says of its version, "" when it does not work."""
    order = Run(command=_command(dialect.version), env=ENVIRONMENT, seconds=PROBE, output=4096)
    try:
        ended = await sandbox.ask(order, PROBE + GRACE)
    except NeugridError:
        return ""
    match = VERSION.search(ended.stdout + ended.stderr)
    return match[0] if match and ended.code == 0 else ""


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.replace("{code}", CODE) for word in words)


def _check(spec: CodeSpec) -> None:
    if len(spec.code) > MAX_CODE:
        _refuse("code", len(spec.code), f"at most {MAX_CODE} characters")
    if not 0 < len(spec.inputs) <= MAX_INPUTS:
        _refuse("inputs", len(spec.inputs), f"1 to {MAX_INPUTS} inputs")
    if sum(map(len, spec.inputs)) > MAX_INPUT:
        _refuse("inputs", sum(map(len, spec.inputs)), f"at most {MAX_INPUT} characters in all")


def _refuse(field: str, value: int, expected: str) -> None:
    raise InvalidParameters(f"{field}: {expected}, got {value}", field=field, value=value, expected=expected)


def _since(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


def _slots(engine: Engine, settings: SandboxSettings, seccomp: str) -> Slots | None:
    """A few network namespaces at first, and as many as there are sandboxes when demand grows."""
    if not settings.has_slots:
        return None
    most = settings.idle + settings.at_once
    return Slots(engine, settings.node, min(most, 2 + settings.at_once), seccomp, most, "sandbox-slot")

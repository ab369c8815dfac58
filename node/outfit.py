"""A provider's outfit: the engine and all that works on it, opened for one life of the node, and what it can do."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog

from market.errors import NeugridError, Unavailable
from market.signing import Signer
from node.actions.abilities import Source
from node.adapters.builds.git_image import ensure_git_image
from node.adapters.builds.settings import BuildSettings
from node.adapters.clock import SystemClock
from node.adapters.containers import DockerContainers
from node.adapters.docker_engine.builds import DockerBuilder
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.guard import Guard
from node.adapters.docker_engine.insides import why_not
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.docker_engine.trial import LABEL
from node.adapters.gpus import NvmlGpus, installed_gpus
from node.adapters.images.limits import ImageLimits
from node.adapters.inspection.inspector import InspectionSettings, LocalInspector
from node.adapters.machine import LocalMachine, sold
from node.adapters.runtime import DockerRuntime
from node.adapters.sandboxes.docker import DockerSandboxes, ensure_language_images
from node.adapters.sandboxes.settings import SandboxSettings
from node.adapters.swarm.inspection import SwarmInspectionSettings, SwarmInspector
from node.adapters.swarm.measuring import SwarmCapacity
from node.adapters.swarm_runtime import SwarmRuntime, SwarmSettings
from node.config import GPU_TIER, GVISOR_TIER, Config, ProviderSettings, PublicSettings
from node.parts import Outfit
from node.ports import Inspector
from node.proxy.publishing import PublicRange

_log = structlog.get_logger("outfit")
AGAIN: Final = 60.0
"""Seconds after which images of languages are tried again that could not be made..."""
SOON: Final = 2.0
"""...and after which an engine is asked again that did not answer."""
TAKE_UP_WITHIN: Final = 30.0
"""Seconds that a start waits for an engine that answers."""


async def open_outfit(stack: AsyncExitStack, config: Config, secret: bytes, clock: SystemClock) -> Outfit:
    """Open everything that selling needs; an engine that is away is waited for. The stack closes it again."""
    if config.provider.runtime == "swarm":
        return await _open_swarm(stack, config, Signer(secret).address, clock)
    settings = runtime_settings(config, Signer(secret).address)
    runtime = DockerRuntime(settings, clock)
    stack.push_async_callback(runtime.close)
    containers = DockerContainers(settings, clock)
    stack.push_async_callback(containers.close)
    if not await _is_taken_up(runtime, containers):
        taking_up = asyncio.create_task(_take_up(runtime, containers), name="take up")
        stack.push_async_callback(_ended, taking_up)
    guard = Guard(runtime.address, settings.node, config.folder / "watchdog", clock)
    stack.push_async_callback(guard.leave)
    return Outfit(
        runtime=runtime,
        containers=containers,
        sandboxes=await _sandboxes(stack, config.provider, settings.node),
        machine=LocalMachine(config.folder, sells_gpus=config.provider.isolation == GPU_TIER),
        images=runtime.image_store,
        volumes=runtime,
        watchdog=guard,
        inspector=inspector_of(config, settings.node),
        builder=await _builder(stack, config.provider, runtime),
        gpus=NvmlGpus(clock),
        public_ports=_public_ports(config.provider.public),
        abilities=_abilities(runtime, config.provider.isolation),
    )


async def _open_swarm(stack: AsyncExitStack, config: Config, node: str, clock: SystemClock) -> Outfit:
    """The machines of a swarm: work without files and services without endpoints, for nothing else can be reached."""
    settings = SwarmSettings(node=node, images=limits_of(config.provider), shelf=config.folder / "images.json")
    runtime = SwarmRuntime(settings, clock)
    stack.push_async_callback(runtime.close)
    engine = Engine(settings.address, workers=2)
    stack.callback(engine.close)
    with suppress(Unavailable):
        await runtime.warm_up()

    async def services() -> tuple[str, ...]:
        return ("service",)

    return Outfit(
        runtime=runtime,
        machine=SwarmCapacity(engine, node, config.provider.share),
        images=runtime.image_store,
        inspector=inspector_of(config),
        abilities=(services,),
        lacks=("files", "probes"),
        is_cluster=True,
    )


def runtime_settings(config: Config, node: str) -> RuntimeSettings:
    """How the node with that address uses its engine."""
    gpus = sold(installed_gpus()) if config.provider.isolation == GPU_TIER else ()
    return RuntimeSettings(
        node=node,
        folder=config.folder / "volumes",
        gpus=gpus,
        images=limits_of(config.provider),
        shelf=config.folder / "images.json",
        builds=builds_of(config),
    )


def limits_of(settings: ProviderSettings) -> ImageLimits:
    """What images may be here."""
    return ImageLimits(
        registries=settings.registries,
        shared=settings.shared_images,
        max_size=settings.max_image_size,
        pull_budget=settings.pull_budget,
        keep_free=settings.keep_free,
    )


def builds_of(config: Config) -> BuildSettings:
    """How images are built here; a relative path starts at the data directory."""
    settings = config.provider
    return BuildSettings(
        private_hosts=settings.repository_hosts,
        authorities=config.folder / settings.repository_ca if settings.repository_ca else None,
        max_repository=settings.max_repository,
    )


def inspector_of(config: Config, node: str = LABEL, *, tries_all: bool = False) -> Inspector:
    """Who looks the provider's machine, or its swarm, over; with `tries_all` also for tiers that it does not sell."""
    isolation = config.provider.isolation
    if config.provider.runtime == "swarm":
        return SwarmInspector(SwarmInspectionSettings(folder=config.folder, isolation=isolation))
    settings = InspectionSettings(folder=config.folder, isolation=isolation, tries_all=tries_all, node=node)
    return LocalInspector(settings)


def _public_ports(settings: PublicSettings) -> PublicRange | None:
    numbers = range(settings.first, settings.last + 1)
    return PublicRange(settings.address, settings.host, numbers) if settings.address else None


async def _take_up(runtime: DockerRuntime, containers: DockerContainers) -> None:
    """What an earlier life left is taken up, or removed, as soon as the engine answers."""
    while not await _is_taken_up(runtime, containers):  # noqa: ASYNC110  (nobody tells when an engine is back)
        await asyncio.sleep(SOON)


async def _is_taken_up(runtime: DockerRuntime, containers: DockerContainers) -> bool:
    """An engine may go away in the middle of that: the node does not wait for it, and comes back to it."""
    try:
        async with asyncio.timeout(TAKE_UP_WITHIN):
            await runtime.warm_up()
            await containers.prepare()
    except (NeugridError, TimeoutError) as error:
        _log.warning("not taken up yet", why=str(error))
        return False
    except Exception:  # noqa: BLE001  what an engine may say, and we did not expect, must not keep a node from its money
        _log.exception("not taken up yet")
        return False
    return True


def sells_code(settings: ProviderSettings) -> bool:
    """Whether code is taken: its sandboxes are containers under the engine's own runtime.

    Who sells gVisor promises more than that, and may have an engine that is below the floor without it.
    """
    return bool(settings.languages) and settings.isolation != GVISOR_TIER


async def _sandboxes(stack: AsyncExitStack, settings: ProviderSettings, node: str) -> DockerSandboxes | None:
    """Sandboxes for the languages that are to be sold; what they lack is made in the background."""
    if not sells_code(settings):
        return None
    sandboxes = DockerSandboxes(SandboxSettings(node=node, idle_memory=settings.sandbox_memory))
    stack.push_async_callback(sandboxes.close)
    making = asyncio.create_task(_make_ready(sandboxes, settings.languages), name="languages")
    stack.push_async_callback(_ended, making)
    return sandboxes


async def _builder(stack: AsyncExitStack, settings: ProviderSettings, runtime: DockerRuntime) -> DockerBuilder | None:
    """The engine's builder, where builds are to be sold; the image that it lacks is made in the background."""
    if not settings.builds or settings.isolation == GVISOR_TIER:  # steps run under the engine's own runtime
        return None
    making = asyncio.create_task(_make_git_ready(), name="git image")
    stack.push_async_callback(_ended, making)
    return runtime.builder


async def _make_git_ready() -> None:
    """Until the image that clones is here: a machine without it sells no builds."""
    while True:
        try:
            how = await ensure_git_image()
            _log.info("git image", how=how)
            return
        except NeugridError as error:
            _log.warning("builds are not ready", why=error.message)
            await asyncio.sleep(AGAIN)


async def _make_ready(sandboxes: DockerSandboxes, languages: tuple[str, ...]) -> None:
    """Make the images, then start the first sandboxes; a machine that can not make them sells no code."""
    while True:
        try:
            for reference, how in (await ensure_language_images(languages)).items():
                _log.info("language image", image=reference, how=how)
            await sandboxes.warm_up()
            return
        except NeugridError as error:
            _log.warning("languages are not ready", why=error.message)
            await asyncio.sleep(SOON if isinstance(error, Unavailable) else AGAIN)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _abilities(runtime: DockerRuntime, isolation: str) -> tuple[Source, ...]:
    async def egress() -> tuple[str, ...]:
        if isolation == GVISOR_TIER:  # its own network stack would send past the rules of the namespace
            return ()
        return tuple(f"egress:{policy}" for policy in await runtime.egress_policies() if policy != "none")

    async def services() -> tuple[str, ...]:
        is_open = isolation != GVISOR_TIER and not why_not()  # gVisor's network is not in the namespace
        return ("service", "volumes", "endpoints") if is_open else ("service", "volumes")

    return egress, services

"""A provider's outfit: the engine and all that works on it, opened for one life of the node, and what it can do."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog

from market.errors import NeugridError, Unavailable
from market.signing import Signer
from node.actions.abilities import Source
from node.adapters.clock import SystemClock
from node.adapters.containers import DockerContainers
from node.adapters.docker_engine.guard import Guard
from node.adapters.docker_engine.insides import why_not
from node.adapters.docker_engine.settings import RuntimeSettings
from node.adapters.gpus import NvmlGpus, installed_gpus
from node.adapters.images.limits import ImageLimits
from node.adapters.inspection.inspector import InspectionSettings, LocalInspector
from node.adapters.machine import LocalMachine, sold
from node.adapters.runtime import DockerRuntime
from node.adapters.sandboxes.docker import DockerSandboxes, ensure_language_images
from node.adapters.sandboxes.settings import SandboxSettings
from node.config import GPU_TIER, Config, ProviderSettings
from node.parts import Outfit

_log = structlog.get_logger("outfit")
AGAIN: Final = 60.0
"""Seconds after which the engine is asked again to make the languages' images."""


async def open_outfit(stack: AsyncExitStack, config: Config, secret: bytes, clock: SystemClock) -> Outfit:
    """Open everything that selling needs; an engine that is away is waited for. The stack closes it again."""
    settings = runtime_settings(config, Signer(secret).address)
    runtime = DockerRuntime(settings, clock)
    stack.push_async_callback(runtime.close)
    containers = DockerContainers(settings, clock)
    stack.push_async_callback(containers.close)
    with suppress(Unavailable):
        await runtime.warm_up()
        await containers.prepare()
    guard = Guard(runtime.address, settings.node, config.folder / "watchdog", clock)
    stack.push_async_callback(guard.leave)
    return Outfit(
        runtime=runtime,
        containers=containers,
        sandboxes=await _sandboxes(stack, config.provider, settings.node),
        machine=LocalMachine(config.folder, sells_gpus=config.provider.isolation == GPU_TIER),
        images=runtime.image_store,
        watchdog=guard,
        inspector=inspector_of(config),
        gpus=NvmlGpus(clock),
        abilities=_abilities(runtime),
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


def inspector_of(config: Config, *, tries_all: bool = False) -> LocalInspector:
    """Who looks the provider's machine over; with `tries_all` also for tiers that it does not sell."""
    settings = InspectionSettings(folder=config.folder, isolation=config.provider.isolation, tries_all=tries_all)
    return LocalInspector(settings)


def sells_code(settings: ProviderSettings) -> bool:
    """Whether code is taken: its sandboxes are containers under the engine's own runtime.

    Who sells gVisor promises more than that, and may have an engine that is below the floor without it.
    """
    return bool(settings.languages) and settings.isolation != "gvisor"


async def _sandboxes(stack: AsyncExitStack, settings: ProviderSettings, node: str) -> DockerSandboxes | None:
    """Sandboxes for the languages that are to be sold; what they lack is made in the background."""
    if not sells_code(settings):
        return None
    sandboxes = DockerSandboxes(SandboxSettings(node=node, idle_memory=settings.sandbox_memory))
    stack.push_async_callback(sandboxes.close)
    making = asyncio.create_task(_make_ready(sandboxes, settings.languages), name="languages")
    stack.push_async_callback(_ended, making)
    return sandboxes


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
            await asyncio.sleep(AGAIN)


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _abilities(runtime: DockerRuntime) -> tuple[Source, ...]:
    async def egress() -> tuple[str, ...]:
        return tuple(f"egress:{policy}" for policy in await runtime.egress_policies() if policy != "none")

    async def services() -> tuple[str, ...]:
        return ("service", "volumes") if why_not() else ("service", "volumes", "endpoints")

    return egress, services

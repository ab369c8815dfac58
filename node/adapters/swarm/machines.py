"""The machines of a swarm: which of them are for sale, what each has left, and what a node can offer of all that.

Pure. An order has to fit on one machine, so what is offered is the machine with the most room, and never a sum.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from market.offers import Gpu
from market.resources import Resources, minus, share_of
from market.units import Bytes, MilliCpu
from node.adapters.docker_engine.exits import timestamp_of
from node.adapters.docker_engine.profile import NODE_LABEL
from node.adapters.swarm.profile import GPU, SELLS
from node.adapters.swarm.tasks import ENDED

MODEL_LABEL: Final = "neugrid.gpu.model"
VRAM_LABEL: Final = "neugrid.gpu.vram"
"""Bytes of memory of each GPU of a machine, as the operator states it."""
MAX_CPU: Final = 4_096_000
MAX_GPUS: Final = 64


class SwarmMachine(Struct, frozen=True, kw_only=True):
    """One machine: `has` is what its engine reports, `changed_at` when it last went away, came back or was changed."""

    id: str
    name: str
    has: Resources
    gpus: tuple[Gpu, ...] = ()
    architecture: str = ""
    version: str = ""
    is_ready: bool = False
    is_gone: bool = False
    """Whether the swarm has given it up: it does not answer, and nobody knows what runs there."""
    is_sold: bool = False
    """Whether its operator put it up for sale, by a label."""
    changed_at: int = 0

    @property
    def is_open(self) -> bool:
        """Whether work can be sold on it now."""
        return self.is_ready and self.is_sold


def machine_of(raw: dict[str, Any]) -> SwarmMachine:
    """A machine as the swarm describes it; one that has just joined may not have told anything yet."""
    described, spec = raw.get("Description") or {}, raw["Spec"]
    labels, resources = spec.get("Labels") or {}, described.get("Resources") or {}
    gpus = _gpus(resources, labels)
    return SwarmMachine(
        id=raw["ID"],
        name=described.get("Hostname", ""),
        has=_amount(resources, gpus),
        gpus=gpus,
        architecture=(described.get("Platform") or {}).get("Architecture", ""),
        version=(described.get("Engine") or {}).get("EngineVersion", ""),
        is_ready=raw["Status"]["State"] == "ready" and spec["Availability"] == "active",
        is_gone=raw["Status"]["State"] == "down",
        is_sold=labels.get(SELLS) == "true",
        changed_at=timestamp_of(raw["UpdatedAt"]),
    )


def room(
    machines: Iterable[SwarmMachine], tasks: Sequence[dict[str, Any]], services: frozenset[str], share: int = 1000
) -> Resources:
    """What the node can sell in all: the most that is free on one machine, and what its own `services` hold now.

    Less what its leases hold, that is what the next order can have. `share` in thousandths is of each machine.
    """
    alive = [task for task in tasks if task["Status"]["State"] not in ENDED]
    there = {machine.id: machine for machine in machines if machine.is_open}
    free = [_free(machine, alive, share) for machine in there.values()]
    best = max(free, key=lambda left: (left.gpus, left.cpu, left.memory), default=Resources(cpu=0, memory=0))
    # What ends, or is lost with its machine, may have lost its lease: counted here, its room would be sold twice.
    staying = [task for task in alive if task.get("DesiredState") == "running" and task.get("NodeID") in there]
    own = [reserved(task) for task in staying if task["ServiceID"] in services]
    return Resources(
        cpu=MilliCpu(min(MAX_CPU, best.cpu + sum(held.cpu for held in own))),
        memory=Bytes(best.memory + sum(held.memory for held in own)),
        gpus=best.gpus + sum(held.gpus for held in own),
        gpu_model=best.gpu_model,
        vram=best.vram,
    )


def reserved(task: dict[str, Any]) -> Resources:
    """What a task keeps others from."""
    asked = ((task.get("Spec") or {}).get("Resources") or {}).get("Reservations") or {}
    return _amount(asked, ())


def own_services(services: Iterable[dict[str, Any]], node: str) -> frozenset[str]:
    """The ids of the services of a node."""
    return frozenset(item["ID"] for item in services if (item["Spec"].get("Labels") or {}).get(NODE_LABEL) == node)


def _free(machine: SwarmMachine, tasks: Sequence[dict[str, Any]], share: int) -> Resources:
    left = share_of(machine.has, share)
    for task in tasks:
        if task.get("NodeID") == machine.id:
            left = minus(left, reserved(task))
    return left


def _amount(resources: dict[str, Any], gpus: tuple[Gpu, ...]) -> Resources:
    return Resources(
        cpu=MilliCpu(min(MAX_CPU, int(resources.get("NanoCPUs") or 0) // 1_000_000)),
        memory=Bytes(int(resources.get("MemoryBytes") or 0)),
        gpus=len(gpus) or min(MAX_GPUS, _counted(resources)),
        gpu_model=gpus[0].model[:64] if gpus else "",
        vram=gpus[0].vram if gpus else 0,
    )


def _counted(resources: dict[str, Any]) -> int:
    """GPUs as a reservation counts them."""
    specs = [item.get("DiscreteResourceSpec") or {} for item in resources.get("GenericResources") or ()]
    return sum(int(spec.get("Value") or 0) for spec in specs if spec.get("Kind") == GPU)


def _gpus(resources: dict[str, Any], labels: dict[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that an engine declares by their ids; none without a label that says what they are."""
    named = [item.get("NamedResourceSpec") or {} for item in resources.get("GenericResources") or ()]
    ids = [str(item.get("Value"))[:128] for item in named if item.get("Kind") == GPU]
    model, vram = labels.get(MODEL_LABEL, "")[:64], labels.get(VRAM_LABEL, "0")
    if not model or not vram.isdecimal():
        return ()
    return tuple(Gpu(model=model, uuid=id, vram=min(int(vram), 2**50)) for id in ids[:MAX_GPUS])

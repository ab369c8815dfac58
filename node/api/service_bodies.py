"""The bodies of deployments and agents, and what they mean: what is given is put over a template, or over what runs."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from market.resources import Resources
from market.services import MAX_REPLICAS
from market.units import Amount, Bytes
from market.workloads import (
    Egress,
    Host,
    Port,
    PortNumber,
    Probe,
    Text,
    UrlPath,
    Volume,
    VolumeName,
    VolumePath,
    Workload,
    WorkloadKind,
    volumes_size,
)
from node.api.submissions import (
    Body,
    EnvName,
    Number,
    ResourcesBody,
    SizeText,
    clean,
    env_of,
    image_of,
    price_of_text,
    resources_of,
    size_of,
    unfit,
)

T = TypeVar("T")
R = TypeVar("R")
TERM: Final = 3600
"""Seconds of a pod's lease, which is made longer again and again: the price cap counts by the hour."""
MASK: Final = "***"
"""What stands for a value of the environment in every answer; sent back, it means the value that is there."""
MIN_VOLUME: Final = 4 * 2**20
MAX_VOLUME: Final = 2**45
Label = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Replicas = Annotated[int, Meta(ge=1, le=MAX_REPLICAS)]
Variables = Annotated[dict[EnvName, Text], Meta(max_length=256)]
ImageText = Annotated[str, Meta(min_length=1, max_length=512)]


class PortBody(Body, frozen=True, kw_only=True):
    """A port that the service listens on: `protocol` is http or tcp.

    A `direct` one is also reached on its provider's own address, by everybody, past the gateway.
    """

    port: PortNumber
    protocol: Annotated[str, Meta(pattern="^(http|tcp)$")] = "http"
    direct: bool = False


class ProbeBody(Body, frozen=True, kw_only=True):
    """How the service is asked whether it works; times in seconds. `kind` is exec, http or tcp."""

    kind: Annotated[str, Meta(pattern="^(exec|http|tcp)$")]
    command: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """0 = the first port of the service."""
    path: UrlPath = "/"
    interval: Annotated[int, Meta(ge=1, le=3600)] = 10
    timeout: Annotated[int, Meta(ge=1, le=60)] = 3
    retries: Annotated[int, Meta(ge=1, le=100)] = 3
    start_period: Annotated[int, Meta(ge=0, le=3600)] = 30


class VolumeBody(Body, frozen=True, kw_only=True):
    """A folder that outlives the container, from 4Mi to 32Ti."""

    name: VolumeName
    path: VolumePath
    size: SizeText


class EgressBody(Body, frozen=True, kw_only=True):
    """Where the service may connect to: none, web (public addresses), or list (the named hosts alone)."""

    policy: Annotated[str, Meta(pattern="^(none|web|list)$")]
    hosts: Annotated[tuple[Host, ...], Meta(max_length=64)] = ()


class ServiceFields(Body, frozen=True, kw_only=True):
    """What both kinds of bodies say of a service, and what may be changed later; null = as it is, or the default."""

    command: Annotated[tuple[Text, ...], Meta(max_length=256)] | None = None
    ports: Annotated[tuple[PortNumber | PortBody, ...], Meta(max_length=16)] | None = None
    probe: ProbeBody | None = None
    volumes: Annotated[tuple[VolumeBody, ...], Meta(max_length=8)] | None = None
    egress: Annotated[str, Meta(pattern="^(none|web|list)$")] | EgressBody | None = None
    max_price_per_hour: Number | None = None
    """The most that one pod may cost an hour, in tokens; without it twice what the cheapest fitting provider asks."""


class ScaleBody(Body, frozen=True, kw_only=True):
    """How many pods shall be up."""

    replicas: Replicas


class Asked(Struct, frozen=True, kw_only=True):
    """What a body asks of the workload, whichever names its fields had; None = not said."""

    fields: ServiceFields
    image: str | None = None
    env: dict[str, str] | None = None
    env_field: str = "env"
    resources: ResourcesBody | None = None
    resources_field: str = "resources"


def blank_workload(image: str, field: str) -> Workload:
    """A service of that image, as it is when nothing else is said."""
    return Workload(
        kind=WorkloadKind.SERVICE,
        image=image_of(image, field),
        resources=resources_of(ResourcesBody()),
        timeout=TERM,
    )


def over(present: Workload, asked: Asked) -> Workload:
    """The workload with what is asked put over it; InvalidParameters names the field that does not fit."""
    fields = asked.fields
    after = replace(
        present,
        image=_or(asked.image, present.image, lambda image: image_of(image)),
        command=_or(fields.command, present.command, lambda words: tuple(clean(word, "command") for word in words)),
        env=_or(asked.env, present.env, lambda env: _env(env, present.env, asked.env_field)),
        resources=_or(asked.resources, present.resources, lambda body: resources_of(body, asked.resources_field)),
        egress=present.egress if fields.egress is None else _egress(fields.egress),
        ports=_or(fields.ports, present.ports, _ports),
        volumes=_or(fields.volumes, present.volumes, _volumes),
    )
    after = replace(after, resources=_with_volumes(after))
    return after if fields.probe is None else replace(after, probe=_probe(fields.probe, after.ports))


def _with_volumes(workload: Workload) -> Resources:
    """The resources with disk enough for the volumes, which a provider sells like every other."""
    disk = max(workload.resources.disk, volumes_size(workload))
    return replace(workload.resources, disk=Bytes(disk))


def cap_of(value: str | float, field: str = "maxPricePerHour") -> Amount:
    """The cap of a term of one hour, in base units; more than 0."""
    cap = price_of_text(value, field)
    if cap == 0:
        raise unfit(field, value, "more than 0")
    return cap


def _or(given: T | None, present: R, read: Callable[[T], R]) -> R:
    return present if given is None else read(given)


def _env(given: dict[str, str], present: dict[str, str], field: str) -> dict[str, str]:
    """The given variables; a masked value of a variable that is there stays what it is."""
    kept = {name: present[name] for name, value in given.items() if value == MASK and name in present}
    return env_of(given | kept, field)


def _ports(given: Sequence[int | PortBody]) -> tuple[Port, ...]:
    bodies = [PortBody(port=port) if isinstance(port, int) else port for port in given]
    ports = tuple(Port(port=body.port, protocol=body.protocol, is_direct=body.direct) for body in bodies)
    _check_unique([port.port for port in ports], "ports", "a port once")
    return ports


def _volumes(given: Sequence[VolumeBody]) -> tuple[Volume, ...]:
    volumes = tuple(Volume(name=volume.name, path=volume.path, size=_volume_size(volume)) for volume in given)
    _check_unique([volume.name for volume in volumes], "volumes", "a name once")
    _check_unique([volume.path for volume in volumes], "volumes", "a path once")
    return volumes


def _volume_size(volume: VolumeBody) -> int:
    size = size_of(volume.size, "volumes.size")
    if not MIN_VOLUME <= size <= MAX_VOLUME:
        raise unfit("volumes.size", volume.size, "from 4Mi to 32Ti")
    return size


def _egress(given: str | EgressBody) -> Egress:
    body = EgressBody(policy=given) if isinstance(given, str) else given
    if bool(body.hosts) != (body.policy == "list"):
        raise unfit("egress.hosts", ", ".join(body.hosts) or "none", "hosts with the policy list, and only there")
    return Egress(policy=body.policy, hosts=body.hosts)


def _probe(body: ProbeBody, ports: tuple[Port, ...]) -> Probe:
    port = body.port or (ports[0].port if ports else 0)
    if body.kind == "exec" and not body.command:
        raise unfit("probe.command", "nothing", "a command for a probe of kind exec")
    if body.kind != "exec" and not port:
        raise unfit("probe.port", body.port, "a port to ask")
    return Probe(
        kind=body.kind,
        command=tuple(clean(word, "probe.command") for word in body.command),
        port=0 if body.kind == "exec" else port,
        path=body.path,
        interval=body.interval,
        timeout=body.timeout,
        retries=body.retries,
        start_period=body.start_period,
    )


def _check_unique(values: Sequence[object], field: str, expected: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise unfit(field, value, expected)

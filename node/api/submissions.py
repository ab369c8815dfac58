"""The body of POST /v1/jobs, and what it means: one struct, every field bounded, friendly spellings for amounts."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import fields, replace

from market.dialogue import MAX_CODE, MAX_INPUT
from market.errors import InvalidParameters
from market.offers import ShortText
from market.orders import Constraints
from market.resources import GIB, Count, Name, Resources
from market.units import Amount, parse_amount, parse_cpu, parse_duration, parse_size
from market.workloads import Path, RefText, Sha256, Text, Workload
from node.actions.jobs import NewFile, NewJob
from node.actions.projects import BuildWish
from node.api.bodies import shown_value

Short = Annotated[str, Meta(max_length=32)]
Number = Short | Annotated[float, Meta(ge=0, le=2**53)]
SizeText = Short | Annotated[int, Meta(ge=0, le=2**60)]
Duration = Short | Annotated[int, Meta(ge=0, le=2**31)]
Code = Annotated[str, Meta(min_length=1, max_length=MAX_CODE)]
Language = Annotated[str, Meta(min_length=1, max_length=32)]
Input = Annotated[str, Meta(max_length=MAX_INPUT)]
EnvName = Annotated[str, Meta(min_length=1, max_length=256)]

MIN_MEMORY: Final = 6 * 2**20
"""Container engines refuse less."""
MAX_TIMEOUT: Final = 30 * 86_400
MAX_TTL: Final = 7 * 86_400
_IMAGE: Final = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$")
_AMOUNT: Final = re.compile(r"^\d{1,13}(\.\d{1,18})?$")


class Body(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A JSON body: camelCase (snake_case is read too), and no field that we do not know."""


class GpuBody(Body, frozen=True, kw_only=True):
    """GPUs by count, model and least VRAM each.

    A model is named by its slug, such as "nvidia-a100" or "nvidia-rtx-4090", or as its driver has it; "" is any.
    """

    count: Count = 1
    model: Name = ""
    vram: SizeText = 0


class ResourcesBody(Body, frozen=True, kw_only=True):
    """What the job needs: cores ("0.5" or 2), sizes ("4Gi" or bytes), GPUs as a count or an object."""

    cpu: Number = 1
    memory: SizeText = "512Mi"
    disk: SizeText = 0
    gpu: Count | GpuBody = 0


class InputBody(Body, frozen=True, kw_only=True):
    """A file under /input: `text`, or `content` in base64, or the `digest` of a file that was uploaded before."""

    path: Path
    text: str | None = None
    content: bytes | None = None
    digest: Sha256 | None = None


class GpuConfigBody(Body, frozen=True, kw_only=True):
    """Whether the image that is built wants a GPU when it runs, and of how many GB at least.

    A build that does not say it leaves the pod of its project the GPUs that it has.
    """

    enabled: bool = False
    min_vram_gb: Annotated[int, Meta(ge=0, le=1024)] = 0


class SubmitJob(Body, frozen=True, kw_only=True):
    """A priced job: an `image` that runs, one of a `template`, the build of the project `project_id`, or `code`.

    `max_price` in tokens is the most it may ever cost, fees included; a build need not say it. Code has its `language`
    and its `input` beside it and nothing else: a run has one price.
    """

    image: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    project_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    template: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """What GET /v1/templates lists; what the body says of command, env and resources is put over it."""
    code: Code | None = None
    language: Language | None = None
    input: Input = ""
    gpu_config: GpuConfigBody | None = None
    ref: RefText | None = None
    """The branch, tag or commit to build instead of the project's."""
    command: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=256)] | None = None
    env: Annotated[dict[EnvName, Text], Meta(max_length=256)] = {}
    resources: ResourcesBody | None = None
    max_price: Number | None = None
    timeout: Duration | None = None
    """Of an image one hour, when it is not said."""
    inputs: Annotated[tuple[InputBody, ...], Meta(max_length=256)] = ()
    outputs: Annotated[tuple[Path, ...], Meta(max_length=64)] = ()
    region: ShortText = ""
    isolation: ShortText = ""
    min_reputation: Annotated[int, Meta(ge=0, le=1000)] = 0
    bid_window: Annotated[int, Meta(ge=0, le=600_000)] = 1000
    """How long bids are collected, in ms; 0 = the first that fits."""
    order_ttl: Duration = "5m"
    """How long the job may wait for a provider."""


_BLANK: Final = SubmitJob()
_NAMES: Final = {field.name: field.encode_name for field in fields(SubmitJob)}
_CODE: Final = ("code", "language", "input")
_BUILD: Final = ("gpu_config", "ref")
_FOREIGN: Final = {
    "image": (*_BUILD, *_CODE),
    "template": (*_BUILD, *_CODE),
    "project_id": (*_CODE, "command", "env", "inputs", "outputs"),
    "code": tuple(name for name in SubmitJob.__struct_fields__ if name not in _CODE),
}
"""By what a job is made of, which is exactly one of these: the fields that it can not have."""


def source_of(body: SubmitJob) -> str:
    """What the job is made of; InvalidParameters when that is not one thing, or when something does not go with it."""
    given = [name for name in _FOREIGN if getattr(body, name) is not None]
    if len(given) != 1:
        shown = " and ".join(map(_name, given)) or "none"
        raise unfit("image", shown, "exactly one of image, template, projectId and code")
    for name in _FOREIGN[given[0]]:
        if getattr(body, name) != getattr(_BLANK, name):
            raise unfit(_name(name), "a value", f"nothing, for a job of {_name(given[0])} has none")
    return given[0]


def new_job(body: SubmitJob, order: Callable[[str, BuildWish], NewJob], templates: Mapping[str, Workload]) -> NewJob:
    """What a body without code asks for, in the market's units; InvalidParameters names the field that does not fit.

    `order` makes the order for a build of a project, by its id.
    """
    source = source_of(body)
    if source == "project_id":
        return _with_wishes(order(body.project_id or "", _wish(body)), body)
    if body.max_price is None:
        raise unfit("maxPrice", "nothing", 'a decimal amount of tokens such as "1.0"')
    base = _template(body, templates) if source == "template" else _image(body)
    workload = _workload(body, base)
    return _with_wishes(NewJob(workload=workload, files=_files(body.inputs), cap=_cap(body.max_price)), body)


def _name(field: str) -> str:
    return _NAMES[field]


def _template(body: SubmitJob, templates: Mapping[str, Workload]) -> Workload:
    name = body.template or ""
    if name not in templates:
        raise unfit("template", name, f"of {', '.join(sorted(templates))}")
    return templates[name]


def _image(body: SubmitJob) -> Workload:
    return Workload(image=image_of(body.image or ""), resources=_PLAIN, timeout=1)


def _wish(body: SubmitJob) -> BuildWish:
    gpu = body.gpu_config
    return BuildWish(
        ref=body.ref,
        cap=None if body.max_price is None else _cap(body.max_price),
        timeout=None if body.timeout is None else _seconds(body.timeout, "timeout", MAX_TIMEOUT),
        resources=None if body.resources is None else resources_of(body.resources),
        gpus=None if gpu is None else int(gpu.enabled),
        vram=gpu.min_vram_gb * GIB if gpu and gpu.enabled else 0,
    )


def _with_wishes(new: NewJob, body: SubmitJob) -> NewJob:
    """What bodies say of both kinds of jobs."""
    return replace(
        new,
        constraints=Constraints(region=body.region, isolation=body.isolation, min_reputation=body.min_reputation),
        bid_window=body.bid_window,
        order_ttl=_seconds(body.order_ttl, "orderTtl", MAX_TTL) * 1000,
    )


def price_of_text(value: str | float, field: str) -> Amount:
    """Base units from plain decimal digits; what Python would also take ("1e9", "1_0", "Infinity") is refused."""
    text = format(value, "f") if isinstance(value, float) else str(value)
    text = text.rstrip("0").rstrip(".") if isinstance(value, float) and "." in text else text
    if not _AMOUNT.match(text):
        raise unfit(field, value, 'a decimal amount of tokens such as "1.0"')
    return parse_amount(text, field)


def image_of(text: str, field: str = "image") -> str:
    """An image reference; InvalidParameters for what can be none."""
    if not _IMAGE.match(text):
        raise unfit(field, text, 'an image reference such as "python:3.11-slim"')
    return text


def env_of(variables: Mapping[str, str], field: str = "env") -> dict[str, str]:
    """Environment variables; InvalidParameters for NUL characters and names with "="."""
    return {_env_name(name, field): clean(value, f"{field}.{name}") for name, value in variables.items()}


def _workload(body: SubmitJob, base: Workload) -> Workload:
    """`base` with what the body says over it: what it has of a service, such as ports and volumes, stays behind."""
    return Workload(
        image=base.image,
        command=tuple(clean(word, "command") for word in body.command or base.command),
        env={**base.env, **env_of(body.env)},
        resources=base.resources if body.resources is None else resources_of(body.resources),
        egress=base.egress,
        timeout=_seconds("1h" if body.timeout is None else body.timeout, "timeout", MAX_TIMEOUT),
        outputs=_outputs(body.outputs),
    )


@lru_cache(maxsize=512)
def resources_of(body: ResourcesBody, field: str = "resources") -> Resources:
    """The resources in the market's units; refusals name what is wrong below `field`. Most jobs ask for the same."""
    gpu = body.gpu if isinstance(body.gpu, GpuBody) else GpuBody(count=body.gpu)
    memory = size_of(body.memory, f"{field}.memory")
    if memory < MIN_MEMORY:
        raise unfit(f"{field}.memory", body.memory, "at least 6Mi")
    return Resources(
        cpu=parse_cpu(body.cpu, f"{field}.cpu"),
        memory=memory,
        disk=size_of(body.disk, f"{field}.disk"),
        gpus=gpu.count,
        gpu_model=gpu.model,
        vram=size_of(gpu.vram, f"{field}.gpu.vram"),
    )


def size_of(value: str | int, field: str) -> int:
    """Bytes, at most 1024Pi."""
    size = parse_size(value, field)
    if size > 2**60:
        raise unfit(field, value, "at most 1024Pi")
    return size


_PLAIN: Final = resources_of(ResourcesBody())
"""What a job has that asks for nothing."""


def _seconds(value: str | int, field: str, most: int) -> int:
    seconds = parse_duration(value, field)
    if not 1 <= seconds <= most:
        raise unfit(field, value, f"from 1s to {most // 86_400}d")
    return seconds


def _cap(value: str | float) -> Amount:
    cap = price_of_text(value, "maxPrice")
    if cap == 0:
        raise unfit("maxPrice", value, "more than 0")
    return cap


def _env_name(name: str, field: str) -> str:
    if "=" in name:
        raise unfit(field, name, "a name without =")
    return clean(name, field)


def clean(text: str, field: str) -> str:
    """The text; InvalidParameters when it holds a NUL character."""
    if "\0" in text:
        raise unfit(field, text, "text without NUL characters")
    return text


def _files(inputs: tuple[InputBody, ...]) -> tuple[NewFile, ...]:
    files = tuple(_file(body, f"inputs[{index}]") for index, body in enumerate(inputs))
    paths = [file.path for file in files]
    for path in paths:
        if paths.count(path) > 1:
            raise unfit("inputs", path, "a path of its own for each file")
    return files


def _file(body: InputBody, field: str) -> NewFile:
    given = [name for name in ("text", "content", "digest") if getattr(body, name) is not None]
    if len(given) != 1:
        raise unfit(field, ", ".join(given) or "nothing", "exactly one of text, content and digest")
    content = body.text.encode() if body.text is not None else body.content
    return NewFile(path=_relative(body.path, "/input", f"{field}.path"), content=content, digest=body.digest or "")


def _outputs(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_relative(path, "/output", f"outputs[{i}]") for i, path in enumerate(paths)))


def _relative(path: str, root: str, field: str) -> str:
    """The path below `root`, which may be written in front of it; nothing that leads out of it."""
    inner = path.removeprefix(root + "/") if path.startswith(root + "/") else path
    pure = PurePosixPath(clean(inner, field))
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise unfit(field, path, f"a path of a file below {root}")
    return str(pure)


def unfit(field: str, value: object, expected: str) -> InvalidParameters:
    """The refusal that names the field, what came and what was expected."""
    shown = shown_value(value)
    return InvalidParameters(f"{field} must be {expected}, got {shown!r}", field=field, value=shown, expected=expected)

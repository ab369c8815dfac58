"""What a node is asked for: the fields of bodies, all of them optional here; a node names what is missing or unfit.

Sizes are bytes or "4Gi", durations seconds or "1h", amounts numbers or decimal strings of tokens.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypedDict

Amount = str | int | float | Decimal
Size = str | int
Duration = str | int


class GpuBody(TypedDict, total=False):
    """GPUs by count, model ("" = any) and least VRAM each."""

    count: int
    model: str
    vram: Size


class ResourcesBody(TypedDict, total=False):
    """Cores, sizes, GPUs as a count or an object."""

    cpu: Amount
    memory: Size
    disk: Size
    gpu: int | GpuBody


class InputBody(TypedDict, total=False):
    """A file under /input: `text`, or `content`, or the `digest` of a file that was uploaded before."""

    path: str
    text: str
    content: bytes
    digest: str


class GpuConfigBody(TypedDict, total=False):
    """Whether the image that is built wants a GPU when it runs, and of how many GB at least."""

    enabled: bool
    min_vram_gb: int


class JobBody(TypedDict, total=False):
    """A priced job: an `image` that runs, or the build of the project `project_id`.

    `max_price` is the most that it may ever cost, fees included. `bid_window` in ms; 0 = the first bid that fits.
    """

    image: str
    project_id: str
    gpu_config: GpuConfigBody
    ref: str
    command: Sequence[str]
    env: Mapping[str, str]
    resources: ResourcesBody
    max_price: Amount
    timeout: Duration
    inputs: Sequence[InputBody]
    outputs: Sequence[str]
    region: str
    isolation: str
    min_reputation: int
    bid_window: int
    order_ttl: Duration


class PortBody(TypedDict, total=False):
    """A port that the service listens on: `protocol` is http or tcp."""

    port: int
    protocol: str
    direct: bool


class ProbeBody(TypedDict, total=False):
    """How the service is asked whether it works: `kind` is exec, http or tcp; times in seconds."""

    kind: str
    command: Sequence[str]
    port: int
    path: str
    interval: int
    timeout: int
    retries: int
    start_period: int


class VolumeBody(TypedDict, total=False):
    """A folder that outlives the container."""

    name: str
    path: str
    size: Size


class EgressBody(TypedDict, total=False):
    """Where the service may connect to: none, web, or list (the named hosts alone)."""

    policy: str
    hosts: Sequence[str]


class ServiceBody(TypedDict, total=False):
    """What bodies of deployments and agents both say."""

    command: Sequence[str]
    ports: Sequence[int | PortBody]
    probe: ProbeBody
    volumes: Sequence[VolumeBody]
    egress: str | EgressBody
    max_price_per_hour: Amount


class DeploymentChanges(ServiceBody, total=False):
    """What changes of a deployment; what is not there stays. In `env`, "***" keeps a value."""

    template_id: str
    custom_image: str
    name: str
    env: Mapping[str, str]
    replicas: int
    resources: ResourcesBody


class DeploymentBody(DeploymentChanges, total=False):
    """A deployment of a template or an image, at the node `node_id` or, without one, wherever it fits."""

    node_id: str
    region: str
    isolation: str
    min_reputation: int


class AgentConfigBody(TypedDict, total=False):
    """The size of one pod, and how many there shall be."""

    cpu: Amount
    memory: Size
    replicas: int


class AgentChanges(ServiceBody, total=False):
    """What changes of an agent; what is not there stays. In `environment`, "***" keeps a value."""

    name: str
    runtime: str
    image: str
    binary_url: str
    config: AgentConfigBody
    environment: Mapping[str, str]


class AgentBody(AgentChanges, total=False):
    """An agent from a program that the node fetches and runs under its runtime, or from an image."""

    region: str


class ProjectBody(TypedDict, total=False):
    """A repository: `ref` is a branch, a tag or a commit; `folder` is built, by `dockerfile` below it."""

    repo_url: str
    name: str
    ref: str
    folder: str
    dockerfile: str


class UserBody(TypedDict, total=False):
    """A user who signs in with email and password; `role` is developer or admin, `tier` free, pro or enterprise."""

    email: str
    password: str
    name: str
    role: str
    tier: str


class UserChanges(UserBody, total=False):
    """What changes of a user; what is not there stays. With `has_single_key` a new key revokes the others."""

    is_blocked: bool
    has_single_key: bool


class WebhookChanges(TypedDict, total=False):
    """What changes of a webhook; what is not there stays."""

    url: str
    events: Sequence[str]
    is_active: bool

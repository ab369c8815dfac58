"""What the starter and the nodes that it starts say to each other: one JSON line each."""

from typing import Literal

from msgspec import Struct

from market.workloads import File


class Plan(Struct, frozen=True, kw_only=True):
    """What a node is: `number` names its keys; without `stores` it forgets, without `lives` its loops do not run."""

    number: int
    folder: str
    bootstrap: tuple[str, ...] = ()
    sells: bool = False
    serves: bool = False
    stores: bool = True
    database: str = ""
    """The URL of the PostgreSQL database that it stores in; "" is a SQLite file in its folder."""
    lives: bool = True
    talks: bool = False
    """Whether its containers say what they are told to."""
    filled: bool = False
    """Whether its database has been in use for long."""
    greets: Literal["", "plainly", "like a node"] = ""
    """Whether it is no node at all, and answers hello: under the server as it comes, or under that of the nodes."""


class Hello(Struct, frozen=True, kw_only=True):
    """The first line of a node that runs."""

    url: str
    key: str
    address: str
    peer: str
    listens: tuple[str, ...]


class Publish(Struct, frozen=True, tag=True, kw_only=True):
    """Publish `count` new offers: one a message and `rate` messages a second, or all at once with rate 0."""

    name: str
    count: int
    rate: float = 0


class Report(Struct, frozen=True, tag=True, kw_only=True):
    """Say what became visible and how many neighbours there are."""


class Share(Struct, frozen=True, tag=True, kw_only=True):
    """Make a file of `size` bytes that the provider `address` may fetch."""

    size: int
    address: str


class Fetch(Struct, frozen=True, tag=True, kw_only=True):
    """Fetch a shared file."""

    peer: str
    file: File


Command = Publish | Report | Share | Fetch


class Moments(Struct, frozen=True, kw_only=True):
    """Offers and their moments, sent or seen: ns of the machine's monotonic clock. `neighbours` subscribe as we do."""

    moments: dict[str, int] = {}
    neighbours: int = 0


class Shared(Struct, frozen=True, kw_only=True):
    """A shared file, or the seconds that fetching one took."""

    file: File
    seconds: float = 0

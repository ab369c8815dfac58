"""Every goal in one table, and the figures that are held against them."""

import math
from typing import Final

from msgspec import Struct


class Figure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the result; `measured` is None when it could not be taken here, and `remark` says why."""

    name: str
    measured: float | None
    goal: float | None
    unit: str
    met: bool
    remark: str = ""


class Goal(Struct, frozen=True, kw_only=True):
    """What a figure should be: at most or at least so much, or a count without a goal."""

    name: str
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def limit(self) -> float | None:
        """The number to hold against, None without a goal."""
        return self.least if self.most is None else self.most

    @property
    def text(self) -> str:
        """The goal as the table shows it."""
        if self.limit is None:
            return ""
        return f"{'<=' if self.least is None else '>='} {self.limit:,.10g}"

    def is_met(self, value: float) -> bool:
        """Whether `value` reaches the goal; a count without one always does."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def reached(self, value: float, remark: str = "") -> Figure:
        """The figure for a value that was measured."""
        met = self.is_met(value)
        return Figure(name=self.name, measured=value, goal=self.limit, unit=self.unit, met=met, remark=remark)

    def missing(self, reason: str) -> Figure:
        """The figure for a value that could not be measured here: not met, and said so."""
        return Figure(name=self.name, measured=None, goal=self.limit, unit=self.unit, met=False, remark=reason)


class Taken(Struct, frozen=True):
    """A value as a benchmark took it, and what one should know about it."""

    value: float
    remark: str = ""


GOALS: Final[dict[str, tuple[Goal, ...]]] = {
    "agreement": (
        Goal(name="demand to agreement, p50", unit="ms", most=50),
        Goal(name="agreements with 10 clients", unit="1/s", least=100),
    ),
    "offers": (
        Goal(name="new offer visible at 10 peers, p99", unit="ms", most=100),
        Goal(name="offers of one node visible at 10 peers", unit="of 1000", least=1000),
    ),
    "gossip": (
        Goal(name="200 messages/s over 5 nodes, p99", unit="ms", most=200),
        Goal(name="of these messages lost", unit="messages", most=0),
    ),
    "overhead": (Goal(name="result of `true` over `docker run --rm`", unit="ms", most=60),),
    "code": (
        Goal(name="python in a fresh sandbox, p50", unit="ms", most=20),
        Goal(name="javascript in a fresh sandbox, p50", unit="ms"),
        Goal(name="cpp in a fresh sandbox, p50", unit="ms"),
        Goal(name="java in a fresh sandbox, p50", unit="ms"),
        Goal(name="sustained runs, each in a fresh sandbox / bare engine", unit="ratio", least=0.8),
        Goal(name="a sandbox is replaced after", unit="ms"),
        Goal(name="memory of a waiting sandbox", unit="MB"),
    ),
    "runner": (
        Goal(name="python through the market / `docker run --rm`", unit="ratio", most=0.1),
        Goal(name="javascript through the market / `docker run --rm`", unit="ratio"),
        Goal(name="cpp through the market / `docker run --rm`", unit="ratio"),
        Goal(name="java through the market / `docker run --rm`", unit="ratio"),
        Goal(name="runs of code through the market, 4 clients", unit="1/s"),
    ),
    "logs": (
        Goal(name="log lines followed", unit="1/s", least=10_000),
        Goal(name="log lines lost", unit="lines", most=0),
        Goal(name="10,000 log lines/s, p99 from container to follower", unit="ms"),
        Goal(name="log lines read from the engine", unit="1/s", least=10_000),
    ),
    "market": (
        Goal(name="orders decoded and verified / bare recover", unit="ratio", least=0.8),
        Goal(name="match in a book of 100,000 offers, p99", unit="ms", most=1),
    ),
    "posting": (
        Goal(name="durable POST / POST without storage, c=32", unit="ratio", least=0.55),
        Goal(name="durable POST, c=32", unit="1/s"),
        Goal(name="durable POST, c=32, p99", unit="ms", most=20),
    ),
    "reading": (
        Goal(name="authenticated GET of a job of 100,000 / hello", unit="ratio", least=0.25),
        Goal(name="authenticated list of 20 jobs of 100,000 / hello", unit="ratio", least=0.15),
        Goal(name="authenticated GET of a job of 100,000 / hello under our server", unit="ratio"),
        Goal(name="authenticated list of 20 jobs of 100,000 / hello under our server", unit="ratio"),
    ),
    "limiting": (
        Goal(name="the limiter in a request to the API", unit="us", most=30),
        Goal(name="a call of the limiter alone", unit="us", most=30),
    ),
    "following": (Goal(name="events to 500 followers, 20 events/s, p99", unit="ms", most=50),),
    "starting": (Goal(name="start of a requester to its first answer", unit="s", most=3),),
    "databases": (
        Goal(name="durable POST on PostgreSQL / on SQLite, c=32", unit="ratio", least=0.8),
        Goal(name="durable work of three rows on PostgreSQL / on SQLite, c=32", unit="ratio"),
    ),
    "memory": (
        Goal(name="idle memory of a provider and its network", unit="MB", most=150),
        Goal(name="idle memory of a requester and its network", unit="MB"),
        Goal(name="start of a node to its first answer", unit="s"),
    ),
    "gas": (Goal(name="gas per voucher in a batch of 128", unit="gas", most=15_000),),
    "proxy": (
        Goal(name="added by the gateway to a request, p50", unit="ms", most=5),
        Goal(name="requests through the gateway, c=32", unit="1/s"),
        Goal(name="large body through the gateway", unit="MB/s", least=50),
    ),
    "transfer": (Goal(name="file of 128 MiB between two nodes", unit="MB/s"),),
}


def percentile(values: list[float], share: float) -> float:
    """The value that `share` (0..1) of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]

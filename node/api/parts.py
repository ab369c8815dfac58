"""Routes of what the node is made of, and how each part is. Names are in snake case here."""

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from msgspec import Struct

from market.errors import NotFound
from node.actions.health import Part
from node.api.auth import SECURITY, signed_in
from node.api.errors import problems
from node.api.present import iso
from node.api.replies import Page, listing, page_of_hundred, reply
from node.api.services import Call
from node.api.views import Pagination

TAGS: Final = ["System"]


class PartView(Struct, frozen=True, kw_only=True):
    """A part of the node: status healthy or unhealthy, and for how long nobody found it ill."""

    name: str
    status: str
    version: str
    uptime: str


class PartList(Struct, frozen=True, kw_only=True):
    """A page of the parts."""

    services: tuple[PartView, ...]
    total: int
    limit: int
    offset: int
    has_more: bool
    pagination: Pagination


class PartStatus(Struct, frozen=True, kw_only=True):
    """A part, and why it is not healthy."""

    name: str
    status: str
    version: str
    uptime: str
    reason: str | None
    checked_at: str


@get(
    "/services",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(503),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_services(request: Call, wanted: NamedDependency[Page]) -> Response[PartList]:
    """What the node is made of, by name, each part asked some seconds ago at most."""
    found = sorted(await request.services.health.services(), key=lambda part: part.name)
    shown, totals = listing(found, wanted, lambda part: (part.name,))
    return reply(PartList(services=tuple(map(_view, shown)), **totals))


@get("/services/{name:str}/status", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404, 503))
async def show_service_status(request: Call, name: FromPath[str]) -> Response[PartStatus]:
    """One part, and why it is not healthy."""
    for part in await request.services.health.services():
        if part.name == name:
            view = _view(part)
            found = PartStatus(
                name=view.name,
                status=view.status,
                version=view.version,
                uptime=view.uptime,
                reason=part.reason or None,
                checked_at=iso(part.checked_at),
            )
            return reply(found)
    raise NotFound("no such service", name=name[:64])


def _view(part: Part) -> PartView:
    status = "unhealthy" if part.reason else "healthy"
    return PartView(name=part.name, status=status, version=part.version, uptime=spell(part.checked_at - part.since))


def spell(milliseconds: int) -> str:
    """A time as people write it: "5d 12h 30m", without what is nothing in front."""
    minutes = max(0, milliseconds) // 60_000
    amounts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m"))
    first = next((place for place, (amount, _) in enumerate(amounts) if amount), len(amounts) - 1)
    return " ".join(f"{amount}{unit}" for amount, unit in amounts[first:])

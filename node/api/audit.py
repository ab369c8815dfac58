"""Routes of the log of who did what: administrators read all of it, everybody what concerns himself."""

from collections.abc import Mapping
from typing import Annotated, Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from market.audit import AuditEntry
from node.actions.access import ADMIN
from node.actions.audit import Asked
from node.api.auth import SECURITY, manages
from node.api.errors import problems
from node.api.log_queries import since_of
from node.api.present import iso
from node.api.replies import Page, cursor_of, pagination_of, place_in, reply
from node.api.services import Call
from node.api.views import Pagination

TAGS: Final = ["Audit"]
Word = Annotated[str, QueryParameter(max_length=64)]


class ActorView(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who acted: an account, "node" for the node itself, null for somebody who was not signed in.

    How and from where administrators acted is for administrators to see.
    """

    account: str | None
    credential: str | None
    address: str | None
    request_id: str | None


class EntryView(Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry; `hash` is over all of it and over `previous`, the hash of the entry before."""

    seq: int
    at: str
    action: str
    account: str | None
    subject: str | None
    actor: ActorView
    detail: Mapping[str, str]
    previous: str
    hash: str


class EntryList(Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of entries, newest first."""

    entries: tuple[EntryView, ...]
    pagination: Pagination


@get("/audit", guards=[manages], tags=TAGS, security=SECURITY, responses=problems())
async def list_entries(
    request: Call,
    wanted: NamedDependency[Page],
    account: Word = "",
    actor: Word = "",
    action: Word = "",
    since: Word = "",
) -> Response[EntryList]:
    """Who did what that matters for money and safety: to you, or to anybody for administrators. It is kept for ever.

    `account` is whom it concerns, `actor` who did it, `action` a name such as key.made, `since` a time or a duration.
    """
    is_whole = ADMIN in request.caller.scopes
    whose = account if is_whole else request.account.id
    asked = Asked(account=whose, actor=actor, action=action, since=since_of(since, request.now))
    before = place_in(wanted.cursor)[0] if wanted.cursor else 0
    found, total = request.services.people.audit.page(asked, wanted.limit + 1, before, wanted.start)
    shown = found[: wanted.limit]
    following = cursor_of(shown[-1].seq, "") if len(found) > wanted.limit else None
    views = tuple(_view(entry, is_whole or entry.actor.account in ("", request.account.id)) for entry in shown)
    return reply(EntryList(entries=views, pagination=pagination_of(wanted, total, len(views), following)))


def _view(entry: AuditEntry, is_open: bool) -> EntryView:
    actor = entry.actor
    return EntryView(
        seq=entry.seq,
        at=iso(entry.at),
        action=entry.deed.action,
        account=entry.deed.account or None,
        subject=entry.deed.subject or None,
        actor=ActorView(
            account=actor.account or None,
            credential=actor.credential or None if is_open else None,
            address=actor.address or None if is_open else None,
            request_id=actor.request or None if is_open else None,
        ),
        detail=entry.deed.detail,
        previous=entry.previous,
        hash=entry.hash,
    )

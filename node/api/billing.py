"""Routes of what was used and what it cost. Names are in snake case here, and money is JSON numbers in tokens."""

from typing import Annotated, Final

from litestar import Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from market.errors import NotFound
from market.units import GIB, TOKEN_DECIMALS
from node.actions.billing import CURRENT, Usage
from node.api.auth import SECURITY, signed_in
from node.api.errors import problems
from node.api.present import iso
from node.api.replies import Page, listing, page_of_hundred, reply
from node.api.services import Call
from node.api.views import Pagination
from node.records import Invoice

TAGS: Final = ["Billing"]
HOUR: Final = 3600


class UsedView(Struct, frozen=True, kw_only=True):
    """What was used: hours of leases, GiB of disk on average over the month, GiB sent and received, runs of code.

    The network is as providers measured it, and they take nothing for it.
    """

    compute_hours: float
    storage_gb: float
    network_gb: float
    runs: int
    credits: int


class CostView(Struct, frozen=True, kw_only=True):
    """What it cost. A lease has one price for all that it is made of, and that is under `compute`."""

    compute: float
    storage: float = 0.0
    network: float = 0.0
    total: float


class UsageView(Struct, frozen=True, kw_only=True):
    """A month."""

    period: str
    usage: UsedView
    cost: CostView
    currency: str


class InvoiceView(Struct, frozen=True, kw_only=True):
    """A month that is over; what it cost was taken from the balance as it arose, so that it is paid."""

    id: str
    period: str
    amount: float
    currency: str
    status: str
    due_date: str
    usage: UsedView
    created_at: str


class InvoiceList(Struct, frozen=True, kw_only=True):
    """A page of invoices, newest first."""

    invoices: tuple[InvoiceView, ...]
    total: int
    limit: int
    offset: int
    has_more: bool
    pagination: Pagination


@get("/billing/usage", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems())
async def show_usage(
    request: Call, period: Annotated[str, QueryParameter(max_length=32)] = CURRENT
) -> Response[UsageView]:
    """What you used in a month: `current`, `last_month`, or one such as 2026-11."""
    found = await request.services.billing.usage(request.account, period)
    cost = _tokens(found.cost)
    view = UsageView(
        period=found.period,
        usage=_used(found),
        cost=CostView(compute=cost, total=cost),
        currency=request.services.currency,
    )
    return reply(view)


@get(
    "/billing/invoices",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_invoices(request: Call, wanted: NamedDependency[Page]) -> Response[InvoiceList]:
    """Your invoices: one for each month that is over and in which you used something."""
    found = request.services.billing.invoices(request.account)
    shown, totals = listing(found, wanted, lambda invoice: (invoice.due_at, invoice.id), newest=True)
    view = InvoiceList(
        invoices=tuple(_view(request, invoice) for invoice in shown),
        **totals,
    )
    return reply(view)


@get("/billing/invoices/{invoice_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_invoice(request: Call, invoice_id: FromPath[str]) -> Response[InvoiceView]:
    """One invoice."""
    for invoice in request.services.billing.invoices(request.account):
        if invoice.id == invoice_id:
            return reply(_view(request, invoice))
    raise NotFound("no such invoice", id=invoice_id)


def _view(request: Call, invoice: Invoice) -> InvoiceView:
    return InvoiceView(
        id=invoice.id,
        period=invoice.period,
        amount=_tokens(invoice.amount),
        currency=request.services.currency,
        status="paid",
        due_date=iso(invoice.due_at)[:10],
        usage=_used(invoice),
        created_at=iso(invoice.created_at),
    )


def _used(used: Usage | Invoice) -> UsedView:
    """`storage` in GiB-seconds becomes GiB over a month of 730 hours."""
    return UsedView(
        compute_hours=round(used.seconds / HOUR, 4),
        storage_gb=round(used.storage / (730 * HOUR), 4),
        network_gb=round(used.network / GIB, 4),
        runs=used.runs,
        credits=used.credits,
    )


def _tokens(amount: int) -> float:
    return float(amount / 10**TOKEN_DECIMALS)

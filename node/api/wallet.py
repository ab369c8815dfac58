"""Routes of the node's wallet: balance, earnings, withdrawals, transactions, refunds."""

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from market.errors import InvalidParameters
from market.units import Address, Amount, format_amount, parse_address
from node.actions.access import ADMIN, is_admin
from node.actions.answers import Idempotency
from node.actions.wallets import RefundResult, WalletEarnings
from node.api.auth import SECURITY, administers, pays, signed_in
from node.api.errors import problems
from node.api.present import iso, provider_id
from node.api.providers import camelled
from node.api.replies import (
    Page,
    cursor_of,
    cut,
    cut_ahead,
    page_of_hundred,
    pagination_of,
    place_in,
    reply,
    reply_once,
)
from node.api.services import Call
from node.api.submissions import Body, Number, price_of_text
from node.api.wallet_views import (
    BalanceView,
    EarningsView,
    RefundList,
    RefundView,
    TransactionList,
    WithdrawalList,
    WithdrawalView,
)
from node.records import Answer, Payout, Posted, Withdrawal

TAGS: Final = ["Wallet"]
_NONE: Final = Amount(0)
NOTHING: Final = WalletEarnings(total=_NONE, unclaimed=_NONE, withdrawable=_NONE, withdrawn=_NONE, fees=_NONE)


class WithdrawBody(Body, frozen=True, kw_only=True):
    """Where earnings go (default: the node's own address) and how much (default: everything)."""

    to: Annotated[str, Meta(max_length=64)] | None = None
    amount: Number | None = None


@get("/wallet/balance", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(503))
async def show_balance(request: Call) -> Response[BalanceView]:
    """What you may spend; for administrators what the node's wallet holds, and what lies in channels."""
    services = request.services
    if not is_admin(request.account):
        return reply(_funds_view(request))
    found = await services.wallets.balance()
    view = BalanceView(
        address=found.address,
        balance=format_amount(found.token),
        native=str(found.native),
        deposited=format_amount(found.deposited),
        promised=format_amount(found.promised),
        claimable=format_amount(found.claimable),
        earned=format_amount(found.earned),
        currency=services.currency,
    )
    return reply(view)


@get("/wallet/earnings", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(503))
async def show_earnings(request: Call) -> Response[EarningsView]:
    """What this provider earned, and how far it has come to hand; users of a node earn nothing with it."""
    found = await request.services.wallets.earnings() if is_admin(request.account) else NOTHING
    view = EarningsView(
        total=format_amount(found.total),
        unclaimed=format_amount(found.unclaimed),
        withdrawable=format_amount(found.withdrawable),
        withdrawn=format_amount(found.withdrawn),
        fees=format_amount(found.fees),
        currency=request.services.currency,
    )
    return reply(view)


@post("/wallet/withdraw", guards=[pays], tags=TAGS, security=SECURITY, responses=problems(402, 409, 422, 503))
async def withdraw(request: Call, data: JSONBody[WithdrawBody], key: NamedDependency[str]) -> Response[WithdrawalView]:
    """Send your balance to your linked wallet; repeat it safely with an `Idempotency-Key`.

    For administrators: claim all vouchers in one batch and withdraw the node's earnings.
    """
    to = _payable(parse_address(data.to, "to")) if data.to is not None else None
    amount = price_of_text(data.amount, "amount") if data.amount is not None else None
    if is_admin(request.account):
        request.caller.must(ADMIN)
        made: Withdrawal | Payout = await request.services.wallets.withdraw(request.account, to, amount, key)
    else:
        made = await request.services.treasury.withdraw(request.account, to, amount, key)
    return reply(_view(made, request.services.currency), 201, {"Location": f"/v1/wallet/withdraw/{made.id}"})


@get("/wallet/withdraw", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems())
async def list_withdrawals(request: Call, wanted: NamedDependency[Page]) -> Response[WithdrawalList]:
    """What you had sent to your wallet, newest first; for administrators what they withdrew of the node's earnings."""
    services, account = request.services, request.account
    look = services.wallets.withdrawals if is_admin(account) else services.treasury.payouts
    after = place_in(wanted.cursor) if wanted.cursor else None
    found: tuple[Sequence[Withdrawal | Payout], int] = look(
        account, limit=wanted.limit + 1, after=after, offset=wanted.start
    )
    shown, following = cut_ahead(found[0], wanted)
    views = tuple(_view(each, services.currency) for each in shown)
    return reply(WithdrawalList(withdrawals=views, pagination=pagination_of(wanted, found[1], len(views), following)))


@get("/wallet/withdraw/{withdrawal_id:str}", guards=[signed_in], tags=TAGS, security=SECURITY, responses=problems(404))
async def show_withdrawal(request: Call, withdrawal_id: FromPath[str]) -> Response[WithdrawalView]:
    """How a withdrawal stands."""
    services, account = request.services, request.account
    found: Withdrawal | Payout = (
        services.wallets.withdrawal(account, withdrawal_id)
        if is_admin(account)
        else services.treasury.payout(account, withdrawal_id)
    )
    return reply(_view(found, services.currency))


@get(
    "/wallet/transactions",
    guards=[signed_in],
    tags=TAGS,
    security=SECURITY,
    responses=problems(),
    dependencies={"wanted": Provide(page_of_hundred, sync_to_thread=False)},
)
async def list_transactions(request: Call, wanted: NamedDependency[Page]) -> Response[TransactionList]:
    """What moved your balance, newest first; for administrators what the node's wallet sent to the chain."""
    if is_admin(request.account):
        sent = await request.services.wallets.transactions()
        items, following = cut(sent, wanted, lambda item: (item["nonce"],), newest=True)
        pagination = pagination_of(wanted, len(sent), len(items), following)
        return reply(TransactionList(transactions=tuple(map(camelled, items)), pagination=pagination))
    after = place_in(wanted.cursor) if wanted.cursor else None
    found, total = request.services.treasury.lines(
        request.account, limit=wanted.limit + 1, after=after, offset=wanted.start
    )
    lines = tuple(_line(line, request.services.currency) for line in found[: wanted.limit])
    following = cursor_of(found[len(lines) - 1].at, lines[-1]["id"]) if len(found) > len(lines) else None
    return reply(TransactionList(transactions=lines, pagination=pagination_of(wanted, total, len(lines), following)))


@post("/wallet/refund", guards=[administers], tags=TAGS, security=SECURITY, responses=problems(409, 422, 503))
async def refund(request: Call, key: NamedDependency[str]) -> Response[RefundList]:
    """Take unused deposits back: at once where the provider releases them, else by an exit after its delay.

    A repeat under an `Idempotency-Key` is told what came of the first; 409 while that is still under way.
    """
    services = request.services

    def view(found: list[RefundResult]) -> RefundList:
        return RefundList(refunds=tuple(_refund(item) for item in found), currency=services.currency)

    def act(idempotency: Idempotency | None) -> Awaitable[tuple[list[RefundResult] | None, Answer | None]]:
        return services.answers.once(request.account, idempotency, services.wallets.refund)

    return await reply_once(request, key, act, view, 201)


def _payable(to: Address) -> Address:
    """The address, unless nobody can have its key."""
    if int(to, 16) == 0:
        raise InvalidParameters("what is sent to the zero address is lost", field="to", value=to, expected="your own")
    return to


def _refund(found: RefundResult) -> RefundView:
    return RefundView(
        channel=found.channel,
        provider=provider_id(found.payee),
        amount=format_amount(found.amount),
        transaction=found.transaction or None,
        problem=found.problem or None,
    )


def _funds_view(request: Call) -> BalanceView:
    funds = request.services.treasury.funds(request.account)
    return BalanceView(
        address=request.account.wallet,
        deposit_address=request.services.wallets.address,
        balance=format_amount(funds.available),
        held=format_amount(funds.held),
        credits=funds.credits,
        currency=request.services.currency,
    )


def _line(line: Posted, currency: str) -> dict[str, Any]:
    return {
        "id": line.id,
        "kind": line.kind,
        "subject": line.subject,
        "amount": format_amount(line.amount),
        "currency": currency,
        "createdAt": iso(line.at),
    }


def _view(found: Withdrawal | Payout, currency: str) -> WithdrawalView:
    return WithdrawalView(
        id=found.id,
        status=found.state,
        to=found.to,
        amount=format_amount(found.amount),
        currency=currency,
        transaction=found.transaction or None,
        created_at=iso(found.created_at),
    )

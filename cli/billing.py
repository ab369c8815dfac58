"""`neugrid billing`: your balance, what you used and paid, what came in and went out."""

from typing import Annotated, Final

from cyclopts import App, Parameter

from cli.remote import LOCAL, Remote, connected, print_json, print_object, print_table
from cli.wallet import print_withdrawals

app = App(name="billing", help="Your own money at the node: balance, usage, invoices, deposits, payouts.")
OWN: Final = ("balance", "held", "credits", "currency", "address", "depositAddress")
"""What of a balance is a user's; the rest is the node's wallet."""


@app.command
def balance(*, remote: Remote = LOCAL) -> None:
    """What you may spend; what comes from your wallet to the deposit address is added."""
    with connected(remote) as client:
        found = client.balance()
    print_object(found if remote.json else {name: found[name] for name in OWN}, remote.json)


@app.command
def usage(
    period: Annotated[str, Parameter(help="current, last_month, or a month such as 2026-11.")] = "current",
    /,
    *,
    remote: Remote = LOCAL,
) -> None:
    """What you used in a month, and what it cost."""
    with connected(remote) as client:
        print_object(client.usage(period), remote.json)


@app.command
def invoices(*, limit: int = 100, remote: Remote = LOCAL) -> None:
    """Months that are over, newest first."""
    with connected(remote) as client:
        found = client.invoices(limit)
    if remote.json:
        print_json(found)
        return
    names = ("id", "period", "amount", "currency", "status", "due_date")
    print_table(names, [[invoice[name] for name in names] for invoice in found], "no invoices")


@app.command
def invoice(id: str, /, *, remote: Remote = LOCAL) -> None:
    """One invoice."""
    with connected(remote) as client:
        print_object(client.invoice(id), remote.json)


@app.command
def deposits(*, remote: Remote = LOCAL) -> None:
    """What was added to your balance lately."""
    with connected(remote) as client:
        found = [line for line in client.transactions() if line.get("kind") == "deposit"]
    if remote.json:
        print_json(found)
        return
    rows = [(line["subject"], line["amount"], line["createdAt"]) for line in found]
    print_table(("deposit", "amount", "created"), rows, "no deposits")


@app.command
def payouts(*, limit: int = 100, remote: Remote = LOCAL) -> None:
    """What was sent to your wallet, newest first, and how each payout stands."""
    with connected(remote) as client:
        print_withdrawals(client.withdrawals(limit), "no payouts", remote.json)


@app.command
def payout(id: str, /, *, remote: Remote = LOCAL) -> None:
    """How one payout stands."""
    with connected(remote) as client:
        print_object(client.withdrawal(id), remote.json)


@app.command
def withdraw(
    *,
    amount: Annotated[str, Parameter(help="Tokens; default is everything.")] = "",
    idempotency_key: Annotated[str, Parameter(help="Repeat safely under this key.")] = "",
    remote: Remote = LOCAL,
) -> None:
    """Send your balance to your linked wallet."""
    with connected(remote) as client:
        print_object(client.withdraw("", amount, idempotency_key), remote.json)

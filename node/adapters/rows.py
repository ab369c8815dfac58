"""What each noun looks like as a row: its table, the columns it is searched by, and the way back from the JSON body."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from market.audit import AuditEntry
from market.errors import NeugridError
from market.jobs import Job
from market.leases import Lease
from market.offers import Offer
from market.runs import Run
from market.services import Service
from market.vouchers import Channel
from node.records import (
    Account,
    Answer,
    ApiKey,
    Balance,
    Delivery,
    DeviceLogin,
    Entry,
    Happened,
    Holding,
    Invoice,
    LogChunk,
    LogHead,
    Login,
    Mark,
    Nonce,
    Payout,
    Pending,
    Posted,
    Project,
    SeriesChunk,
    Session,
    Traffic,
    Webhook,
    Withdrawal,
)

Columns = dict[str, Any]
"""Column names and values of one row, without `body`."""

UNTIL: Final = "_until"
"""What a condition ends in that means "at most" instead of "equal"."""

REMEMBERED: Final = 512
"""Bodies of each noun whose decoded form is kept, the latest ones..."""
SMALL: Final = 8192
"""...and how long they may be: what is kept stays within a few MB, whatever users send."""
_encoder = msgspec.json.Encoder()


class Shape(Struct, frozen=True, kw_only=True):
    """How one type of noun is stored; `unique` are columns beside the key that no two rows may share."""

    table: str
    names: tuple[str, ...]
    """The columns, without `body`."""
    values: Callable[[Any], tuple[Any, ...]]
    """What a noun has in these columns; `created` is 0 when its value is missing at the end."""
    decode: Callable[[Any, str], Any]
    """From (key, body) to the noun."""
    key: str = "id"
    order: tuple[str, ...] = ("created", "id")
    unique: tuple[str, ...] = ()

    def columns(self, noun: Struct) -> Columns:
        """The row of `noun` without its body; without a key as well where the storage is to count."""
        columns: Columns = {"created": 0, **dict(zip(self.names, self.values(noun), strict=False))}
        if columns[self.key] == 0:
            del columns[self.key]
        return columns

    def key_of(self, id: str) -> str | int:
        """The value of the key column for `id`: a number where the storage counts."""
        if self.key == "id":
            return id
        return int(id) if id.isascii() and id.isdecimal() and len(id) <= 18 else -1

    def column(self, condition: str) -> str:
        """The column that a condition is about; TypeError when the table has none such."""
        name = condition.removesuffix(UNTIL)
        if name not in self.names:
            raise TypeError(f"{self.table} has no column {name!r}; it has {', '.join(self.names)}")
        return name


def shape_of(noun: type[Struct]) -> Shape:
    """The shape of a type of noun; TypeError when it is not stored."""
    shape = SHAPES.get(noun)
    if shape is None:
        raise TypeError(f"{noun.__name__} is not stored; stored are {', '.join(each.__name__ for each in SHAPES)}")
    return shape


def body_of(noun: Struct) -> str:
    """The noun as JSON; byte strings become base64."""
    return _encoder.encode(noun).decode()


def _shape(noun: type[Struct], table: str, columns: str, **changes: Any) -> Shape:
    """`columns` are attributes of the noun; `name=path` where the column has another name, a last `created=` is 0."""
    pairs = [
        (name, path if equals else name) for name, equals, path in (word.partition("=") for word in columns.split())
    ]
    shape = Shape(
        table=table,
        names=tuple(name for name, _ in pairs),
        values=_reader([path for _, path in pairs if path]),
        decode=_decoder(noun),
    )
    return replace(shape, **changes)


def _reader(paths: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    read = attrgetter(*paths)
    return read if len(paths) > 1 else lambda noun: (read(noun),)


def _decoder(noun: type[Struct]) -> Callable[[Any, str], Any]:
    """Nouns are frozen, so that what was decoded once may be given out again: a tenth of the time for what is hot."""
    decode = msgspec.json.Decoder(noun).decode
    remembered = lru_cache(maxsize=REMEMBERED)(decode)

    def from_row(key: Any, body: str) -> Any:
        try:
            return remembered(body) if len(body) <= SMALL else decode(body)
        except msgspec.DecodeError as error:
            raise NeugridError(f"the stored {noun.__name__} {key} can not be read: {error}") from error

    return from_row


def _counted(noun: type[Struct]) -> Callable[[Any, str], Any]:
    """Of nouns that the storage counts: the number is the key alone."""
    decode = _decoder(noun)
    return lambda key, body: replace(decode(key, body), seq=key)


SHAPES: Final[Mapping[type[Struct], Shape]] = {
    Job: _shape(Job, "job", "id created=created_at account state=state.value lease service deadline version"),
    Service: _shape(Service, "service", "id created=created_at account state=state.value name deadline"),
    Run: _shape(Run, "run", "id created=created_at account state=state.value deadline"),
    Lease: _shape(
        Lease,
        "lease",
        "id created=created_at side state=state.value job channel deadline "
        "provider=terms.provider requester=terms.requester",
    ),
    Channel: _shape(Channel, "channel", "id payer signer payee deposited exiting promised claimed created="),
    Offer: _shape(Offer, "offer", "id created=issued_at provider"),
    Account: _shape(Account, "account", "id created=created_at name"),
    ApiKey: _shape(ApiKey, "api_key", "id created=created_at account digest", unique=("digest",)),
    Login: _shape(Login, "login", "id created=created_at account"),
    Session: _shape(Session, "session", "id created=created_at account expires=expires_at"),
    Nonce: _shape(Nonce, "nonce", "id created=created_at expires=expires_at"),
    DeviceLogin: _shape(
        DeviceLogin, "device_login", "id created=created_at user_code expires=expires_at", unique=("user_code",)
    ),
    Project: _shape(Project, "project", "id created=created_at account"),
    Answer: _shape(Answer, "answer", "id created=created_at"),
    Entry: _shape(Entry, "entry", "seq created=at noun subject", key="seq", order=("seq",), decode=_counted(Entry)),
    Happened: _shape(
        Happened, "happened", "seq created=at account event", key="seq", order=("seq",), decode=_counted(Happened)
    ),
    AuditEntry: _shape(
        AuditEntry,
        "audit_entry",
        "seq created=at account=deed.account actor=actor.account action=deed.action",
        key="seq",
        order=("seq",),
        decode=_counted(AuditEntry),
    ),
    Webhook: _shape(Webhook, "webhook", "id created=created_at account"),
    Delivery: _shape(Delivery, "delivery", "id created=created_at webhook state not_before"),
    Pending: _shape(Pending, "pending", "id created=created_at subject effect not_before"),
    LogChunk: _shape(LogChunk, "log_chunk", "id created=first lease first"),
    LogHead: _shape(LogHead, "log_head", "id kind oldest newest created="),
    SeriesChunk: _shape(SeriesChunk, "series_chunk", "id created=start lease step expires"),
    Payout: _shape(Payout, "payout", "id created=created_at account state"),
    Invoice: _shape(Invoice, "invoice", "id created=due_at account period"),
    Traffic: _shape(Traffic, "traffic", "id account created="),
    Posted: _shape(Posted, "posted", "id created=at account currency subject"),
    Holding: _shape(Holding, "holding", "id created=used_at account"),
    Balance: _shape(Balance, "balance", "id account currency amount created="),
    Withdrawal: _shape(Withdrawal, "withdrawal", "id created=created_at account state amount"),
    Mark: _shape(Mark, "mark", "id created="),
}

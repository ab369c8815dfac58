"""The tables: a key, the columns that are searched by, and the noun itself as a JSON body."""

from typing import ClassVar

from sqlmodel import BigInteger, Field, Index, Integer, MetaData, SQLModel, String, Table, Text

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint and index has a name, so that a migration can find it again."""
WORD = String().with_variant(String(collation="C"), "postgresql")
"""Text that is searched: compared by its bytes on every database, whatever language the server speaks."""


class Row(SQLModel):
    """What all tables share; times and amounts are 64-bit integers."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)

    created: int = Field(sa_type=BigInteger)
    body: str = Field(sa_type=Text)


class JobRow(Row, table=True):
    __tablename__ = "job"
    __table_args__ = (
        Index(None, "account", "service", "created", "id"),
        Index(None, "state", "account", "created", "id"),
        Index(None, "service", "created", "id"),
    )
    id: str = Field(primary_key=True)
    account: str
    state: str
    lease: str
    service: str
    deadline: int = Field(sa_type=BigInteger, index=True)
    version: int = Field(sa_type=BigInteger)


class ServiceRow(Row, table=True):
    __tablename__ = "service"
    __table_args__ = (
        Index(None, "account", "created", "id"),
        Index(None, "state", "created", "id"),
    )
    id: str = Field(primary_key=True)
    account: str
    state: str
    name: str
    deadline: int = Field(sa_type=BigInteger, index=True)


class RunRow(Row, table=True):
    __tablename__ = "run"
    __table_args__ = (
        Index(None, "account", "created", "id"),
        Index(None, "state", "created", "id"),
    )
    id: str = Field(primary_key=True)
    account: str
    state: str
    deadline: int = Field(sa_type=BigInteger, index=True)


class LeaseRow(Row, table=True):
    __tablename__ = "lease"
    __table_args__ = (
        Index(None, "state", "created", "id"),
        Index(None, "channel", "state", "created", "id"),
    )
    id: str = Field(primary_key=True)
    side: str
    state: str
    job: str = Field(index=True)
    channel: str
    deadline: int = Field(sa_type=BigInteger, index=True)
    provider: str
    requester: str


class ChannelRow(Row, table=True):
    __tablename__ = "channel"
    id: str = Field(primary_key=True)
    payer: str = Field(index=True)
    signer: str
    payee: str = Field(index=True)
    deposited: int = Field(sa_type=BigInteger)
    exiting: int = Field(sa_type=BigInteger)
    promised: int = Field(sa_type=BigInteger)
    claimed: int = Field(sa_type=BigInteger)


class OfferRow(Row, table=True):
    __tablename__ = "offer"
    id: str = Field(primary_key=True)
    provider: str = Field(index=True)


class AccountRow(Row, table=True):
    __tablename__ = "account"
    __table_args__ = (Index(None, "created", "id"),)
    id: str = Field(primary_key=True)
    name: str = Field(index=True)


class LoginRow(Row, table=True):
    __tablename__ = "login"
    id: str = Field(primary_key=True)
    account: str = Field(index=True)


class SessionRow(Row, table=True):
    __tablename__ = "session"
    id: str = Field(primary_key=True)
    account: str = Field(index=True)
    expires: int = Field(sa_type=BigInteger, index=True)


class NonceRow(Row, table=True):
    __tablename__ = "nonce"
    id: str = Field(primary_key=True)
    expires: int = Field(sa_type=BigInteger, index=True)


class DeviceLoginRow(Row, table=True):
    __tablename__ = "device_login"
    id: str = Field(primary_key=True)
    user_code: str = Field(index=True, unique=True)
    expires: int = Field(sa_type=BigInteger, index=True)


class ApiKeyRow(Row, table=True):
    __tablename__ = "api_key"
    id: str = Field(primary_key=True)
    account: str = Field(index=True)
    digest: str = Field(index=True, unique=True)


class ProjectRow(Row, table=True):
    __tablename__ = "project"
    __table_args__ = (Index(None, "account", "created", "id"),)
    id: str = Field(primary_key=True)
    account: str


class AnswerRow(Row, table=True):
    __tablename__ = "answer"
    __table_args__ = (Index(None, "created", "id"),)
    id: str = Field(primary_key=True)


class EntryRow(Row, table=True):
    """The journal: `seq` only ever grows, also when the last entry was deleted."""

    __tablename__ = "entry"
    __table_args__ = (
        Index(None, "subject", "seq"),
        {"sqlite_autoincrement": True},
    )
    seq: int = Field(sa_type=BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    noun: str
    subject: str


class HappenedRow(Row, table=True):
    """What users hear of: `seq` only ever grows, also when the last was deleted."""

    __tablename__ = "happened"
    __table_args__ = (
        Index(None, "account", "seq"),
        Index(None, "created"),
        {"sqlite_autoincrement": True},
    )
    seq: int = Field(sa_type=BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    account: str
    event: str


class AuditEntryRow(Row, table=True):
    """Who did what: `seq` is a part of what is hashed, so that it is the node that counts."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index(None, "account", "seq"),
        Index(None, "actor", "seq"),
        Index(None, "action", "seq"),
        Index(None, "created"),
    )
    seq: int = Field(
        sa_type=BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        sa_column_kwargs={"autoincrement": False},
    )
    account: str
    actor: str
    action: str


class WebhookRow(Row, table=True):
    __tablename__ = "webhook"
    __table_args__ = (Index(None, "account", "created", "id"),)
    id: str = Field(primary_key=True)
    account: str


class DeliveryRow(Row, table=True):
    __tablename__ = "delivery"
    __table_args__ = (
        Index(None, "webhook", "created", "id"),
        Index(None, "state", "not_before"),
        Index(None, "created"),
    )
    id: str = Field(primary_key=True)
    webhook: str
    state: str
    not_before: int = Field(sa_type=BigInteger)


class PendingRow(Row, table=True):
    __tablename__ = "pending"
    id: str = Field(primary_key=True)
    subject: str
    effect: str
    not_before: int = Field(sa_type=BigInteger)


class LogChunkRow(Row, table=True):
    __tablename__ = "log_chunk"
    __table_args__ = (Index(None, "lease", "created", "id"),)
    id: str = Field(primary_key=True)
    lease: str
    first: int = Field(sa_type=BigInteger)


class LogHeadRow(Row, table=True):
    __tablename__ = "log_head"
    __table_args__ = (Index(None, "kind", "oldest"),)
    id: str = Field(primary_key=True)
    kind: str
    oldest: int = Field(sa_type=BigInteger)
    newest: int = Field(sa_type=BigInteger, index=True)


class SeriesChunkRow(Row, table=True):
    __tablename__ = "series_chunk"
    __table_args__ = (Index(None, "lease", "step", "created", "id"),)
    id: str = Field(primary_key=True)
    lease: str
    step: int = Field(sa_type=BigInteger)
    expires: int = Field(sa_type=BigInteger, index=True)


class PostedRow(Row, table=True):
    __tablename__ = "posted"
    __table_args__ = (Index(None, "account", "currency", "created", "id"),)
    id: str = Field(primary_key=True)
    account: str
    currency: str
    subject: str = Field(index=True)


class HoldingRow(Row, table=True):
    __tablename__ = "holding"
    __table_args__ = (
        Index(None, "account", "created", "id"),
        Index(None, "created", "id"),
    )
    id: str = Field(primary_key=True)
    account: str


class BalanceRow(Row, table=True):
    __tablename__ = "balance"
    id: str = Field(primary_key=True)
    account: str
    currency: str = Field(index=True)
    amount: int = Field(sa_type=BigInteger, index=True)


class PayoutRow(Row, table=True):
    __tablename__ = "payout"
    __table_args__ = (Index(None, "account", "created", "id"),)
    id: str = Field(primary_key=True)
    account: str
    state: str = Field(index=True)


class InvoiceRow(Row, table=True):
    __tablename__ = "invoice"
    __table_args__ = (Index(None, "account", "created", "id"),)
    id: str = Field(primary_key=True)
    account: str
    period: str


class TrafficRow(Row, table=True):
    __tablename__ = "traffic"
    id: str = Field(primary_key=True)
    account: str


class WithdrawalRow(Row, table=True):
    __tablename__ = "withdrawal"
    __table_args__ = (Index(None, "account", "created", "id"),)
    id: str = Field(primary_key=True)
    account: str
    state: str = Field(index=True)
    amount: int = Field(sa_type=BigInteger)


class MarkRow(Row, table=True):
    __tablename__ = "mark"
    id: str = Field(primary_key=True)


class CalledRow(SQLModel, table=True):
    """Calls that are counted in one place for several processes; `until` they lie in a window. Nobody's noun."""

    metadata: ClassVar[MetaData] = Row.metadata

    __tablename__ = "called"
    __table_args__ = (Index(None, "who", "action", "at", "n"),)
    who: str = Field(primary_key=True)
    action: str = Field(primary_key=True)
    n: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=BigInteger)
    until: int = Field(sa_type=BigInteger, index=True)


for _column in (column for table in Row.metadata.tables.values() for column in table.columns):
    if isinstance(_column.type, String) and not isinstance(_column.type, Text):
        _column.type = WORD


def table(name: str) -> Table:
    """The declared table of that name."""
    return Row.metadata.tables[name]

"""What the node keeps beside the market's nouns: accounts, keys, journal, pending effects, logs, withdrawals."""

from msgspec import Struct

from market.dialogue import LogPlace
from market.receipts import GENESIS
from market.series import Bucket
from market.units import Address, Amount, Timestamp
from market.workloads import Source


class Account(Struct, frozen=True, kw_only=True):
    """A user of this node; the operator's account is made at `init`. `email` and `wallet` are its logins, "" = none."""

    id: str
    name: str
    role: str = "developer"
    tier: str = "free"
    email: str = ""
    wallet: str = ""
    """The address on the chain that it signs in with, deposits from and is paid out to."""
    is_blocked: bool = False
    is_deleted: bool = False
    """Gone for everybody; the books name it still."""
    has_single_key: bool = False
    """A new key revokes the others."""
    low_balance: Amount | None = None
    """Its owner is told when he has less to spend; 0 = never, None = what the node's settings say."""
    created_at: Timestamp
    updated_at: Timestamp = Timestamp(0)


class Login(Struct, frozen=True, kw_only=True):
    """A way into an account: `id` is "email:<address>" or "wallet:<address>"; `password` is an argon2id hash."""

    id: str
    account: str
    password: str = ""
    created_at: Timestamp


class Session(Struct, frozen=True, kw_only=True):
    """Signed in with a password or a wallet: `digest` is that of the present refresh token, each good for one use."""

    id: str
    account: str
    digest: str
    way: str = ""
    """How it was opened: "password" or "wallet"."""
    created_at: Timestamp
    expires_at: Timestamp


class Nonce(Struct, frozen=True, kw_only=True):
    """A number that a wallet has to sign, once."""

    id: str
    created_at: Timestamp
    expires_at: Timestamp


class DeviceLogin(Struct, frozen=True, kw_only=True):
    """A device that waits to be let in (RFC 8628); `id` is the digest of its code.

    `client` is what it calls itself and `address` where it asked from. `scopes` is what it asked for, () = all that
    its user may; what it got, once somebody decided. `account` is whose it became, "" before that; `polled_at` when it
    asked last.
    """

    id: str
    user_code: str
    client: str
    address: str = ""
    scopes: tuple[str, ...] = ()
    account: str = ""
    is_denied: bool = False
    interval: int = 5
    polled_at: Timestamp = Timestamp(0)
    created_at: Timestamp
    expires_at: Timestamp


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key of an account: only the SHA-256 (hex) of the secret is kept; `expires_at` 0 = never.

    `scopes` are what it may do, () = all that its account may; `profile` is the platform whose errors it reads.
    """

    id: str
    account: str
    name: str
    digest: str
    scopes: tuple[str, ...] = ()
    profile: str = ""
    created_at: Timestamp
    expires_at: Timestamp = Timestamp(0)


class Project(Struct, frozen=True, kw_only=True):
    """A repository of an account that images are built of."""

    id: str
    account: str
    name: str
    source: Source
    created_at: Timestamp


class Answer(Struct, frozen=True, kw_only=True):
    """The stored answer to an idempotent request; `id` is `<account>:<route>:<key>`, `status` 0 while in flight."""

    id: str
    body_digest: str
    status: int
    body: bytes
    created_at: Timestamp


class Entry(Struct, frozen=True, kw_only=True):
    """One line of the journal: an event that a machine accepted. `seq` is given by the storage, 0 before."""

    seq: int = 0
    noun: str
    subject: str
    at: Timestamp
    event: str
    """The name of the event's type."""
    body: bytes


class Happened(Struct, frozen=True, kw_only=True):
    """Something that a user wants to hear of; `body` is JSON, `seq` is given by the storage, 0 before."""

    seq: int = 0
    account: str
    event: str
    subject: str
    body: bytes
    at: Timestamp


class Webhook(Struct, frozen=True, kw_only=True):
    """Where a user wants to be told of what happens; `events` () is all. The secrets are sealed.

    `failures` are deliveries in a row that were given up; `old_secret` still signs until `old_until`, after a rotation.
    """

    id: str
    account: str
    url: str
    events: tuple[str, ...] = ()
    secret: bytes
    old_secret: bytes = b""
    old_until: Timestamp = Timestamp(0)
    is_active: bool = True
    failures: int = 0
    created_at: Timestamp
    updated_at: Timestamp = Timestamp(0)


class Delivery(Struct, frozen=True, kw_only=True):
    """A happening on its way to a webhook; `id` is `<webhook>:<seq>`, state "pending", "delivered" or "failed".

    `answers` are the last tries: when (epoch ms), the status (0 = none came), and a word about it.
    """

    id: str
    webhook: str
    event: str
    body: bytes
    state: str = "pending"
    attempts: int = 0
    not_before: Timestamp = Timestamp(0)
    answers: tuple[tuple[int, int, str], ...] = ()
    created_at: Timestamp


class Pending(Struct, frozen=True, kw_only=True):
    """An effect that is not performed yet; `id` is unique per (subject, effect), so that adding twice adds once."""

    id: str
    subject: str
    effect: str
    body: bytes
    created_at: Timestamp
    attempts: int = 0
    not_before: Timestamp = Timestamp(0)


class LogChunk(Struct, frozen=True, kw_only=True):
    """Lines `first`..`first + count - 1` of a lease; `body` is the JSON list of lines, `id` is `<lease>:<first>`."""

    id: str
    lease: str
    first: int
    count: int
    body: bytes
    at: Timestamp = Timestamp(0)
    """When they were kept, by our clock."""


class LogHead(Struct, frozen=True, kw_only=True):
    """How the kept output of a lease stands; `id` is the lease, `kind` that of its workload.

    `next` is the number of the next line, `head` the chain over all lines before it, kept or dropped, `places` where
    they end in each stream. `size` is what the chunks take in bytes, `oldest` and `newest` when the first and the last
    of them was kept.
    """

    id: str
    kind: str
    next: int = 0
    size: int = 0
    head: str = GENESIS
    places: tuple[LogPlace, ...] = ()
    oldest: Timestamp
    newest: Timestamp


class SeriesChunk(Struct, frozen=True, kw_only=True):
    """What a lease used from `start` on, in buckets `step` ms wide; `id` is `<lease>:<step>:<start>`."""

    id: str
    lease: str
    step: int
    start: Timestamp
    expires: Timestamp
    buckets: tuple[Bucket, ...] = ()


class Posted(Struct, frozen=True, kw_only=True):
    """One line of the ledger: `id` is `<transfer>/<number>`, `amount` in the currency's smallest units."""

    id: str
    account: str
    currency: str
    amount: int
    kind: str
    subject: str
    seconds: int = 0
    storage: int = 0
    """The use that it is for: time, and disk in GiB-seconds."""
    at: Timestamp


class Holding(Struct, frozen=True, kw_only=True):
    """A file that an account has: `id` is `<account>:<digest>`, `used_at` when it was brought or named last."""

    id: str
    account: str
    digest: str
    size: int
    used_at: Timestamp


class Balance(Struct, frozen=True, kw_only=True):
    """The sum over the lines of one account in one currency; `id` is `<account>/<currency>`. There is none at zero."""

    id: str
    account: str
    currency: str
    amount: int


class Withdrawal(Struct, frozen=True, kw_only=True):
    """A withdrawal of earnings: state is "pending", "confirmed" or "failed"."""

    id: str
    account: str
    to: Address
    amount: Amount
    state: str
    transaction: str = ""
    asked: str = ""
    """Address and amount as they were asked for: what a repeat under the same Idempotency-Key must ask for, too."""
    created_at: Timestamp


class Payout(Struct, frozen=True, kw_only=True):
    """What a user takes out of the ledger to his wallet: state is "pending", "confirmed" or "failed"."""

    id: str
    account: str
    to: Address
    amount: Amount
    state: str = "pending"
    transaction: str = ""
    asked: str = ""
    """Address and amount as they were asked for: what a repeat under the same Idempotency-Key must ask for, too."""
    created_at: Timestamp


class Traffic(Struct, frozen=True, kw_only=True):
    """Bytes that the leases of an account received and sent in a month ("2026-11"); `id` is `<account>/<period>`."""

    id: str
    account: str
    period: str
    size: int


class Invoice(Struct, frozen=True, kw_only=True):
    """A month ("2026-11") of an account that used something; seconds, disk in GiB-seconds, network in bytes."""

    id: str
    account: str
    period: str
    amount: Amount
    seconds: int
    storage: int
    runs: int
    credits: int
    network: int = 0
    due_at: Timestamp
    created_at: Timestamp


class Mark(Struct, frozen=True, kw_only=True):
    """A named value that must survive a restart (chain cursor, offer sequence)."""

    id: str
    value: str

"""What each noun looks like as a row: its table, the columns it is searched by, and the way back from the JSON body."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from market.errors import NeugridError
from market.jobs import Job
from market.leases import Lease
from market.offers import Offer
from market.vouchers import Channel
from node.records import Account, Answer, ApiKey, Entry, LogChunk, Mark, Pending, Withdrawal

Columns = dict[str, Any]
"""Column names and values of one row, without `body`."""

_encoder = msgspec.json.Encoder()


class Shape(Struct, frozen=True):
    """How one type of noun is stored; `unique` are columns beside the key that no two rows may share."""

    table: str
    columns: Callable[[Any], Columns]
    decode: Callable[[Any, str], Any]
    """From (key, body) to the noun."""
    key: str = "id"
    order: tuple[str, ...] = ("created", "id")
    unique: tuple[str, ...] = ()

    def key_of(self, id: str) -> str | int:
        """The value of the key column for `id`; a number where the storage counts the rows itself."""
        if self.key == "id":
            return id
        return int(id) if id.isdecimal() else -1


def shape_of(noun: type[Struct]) -> Shape:
    """The shape of a type of noun; TypeError when it is not stored."""
    try:
        return SHAPES[noun]
    except KeyError:
        raise TypeError(f"{noun.__name__} is not stored; stored are {', '.join(t.__name__ for t in SHAPES)}") from None


def body_of(noun: Struct) -> str:
    """The noun as JSON; byte strings become base64."""
    return _encoder.encode(noun).decode()


def _decoder(noun: type[Struct]) -> Callable[[Any, str], Any]:
    decode = msgspec.json.Decoder(noun).decode

    def from_row(key: Any, body: str) -> Any:
        try:
            return decode(body)
        except msgspec.DecodeError as error:
            raise NeugridError(f"the stored {noun.__name__} {key} can not be read: {error}") from error

    return from_row


_entry_of = _decoder(Entry)


def _entry(key: Any, body: str) -> Entry:
    return replace(_entry_of(key, body), seq=key)


def _job_columns(job: Job) -> Columns:
    return {
        "id": job.id,
        "created": job.created_at,
        "account": job.account,
        "state": job.state.value,
        "lease": job.lease,
        "deadline": job.deadline,
        "version": job.version,
    }


def _lease_columns(lease: Lease) -> Columns:
    return {
        "id": lease.id,
        "created": lease.created_at,
        "side": lease.side,
        "state": lease.state.value,
        "job": lease.job,
        "channel": lease.channel,
        "deadline": lease.deadline,
        "provider": lease.terms.provider,
        "requester": lease.terms.requester,
    }


def _channel_columns(channel: Channel) -> Columns:
    return {
        "id": channel.id,
        "created": 0,
        "payer": channel.payer,
        "signer": channel.signer,
        "payee": channel.payee,
        "deposited": channel.deposited,
        "exiting": channel.exiting,
        "promised": channel.promised,
        "claimed": channel.claimed,
    }


def _offer_columns(offer: Offer) -> Columns:
    return {"id": offer.id, "created": offer.issued_at, "provider": offer.provider}


def _account_columns(account: Account) -> Columns:
    return {"id": account.id, "created": account.created_at, "name": account.name}


def _api_key_columns(key: ApiKey) -> Columns:
    return {"id": key.id, "created": key.created_at, "account": key.account, "digest": key.digest}


def _answer_columns(answer: Answer) -> Columns:
    return {"id": answer.id, "created": answer.created_at}


def _entry_columns(entry: Entry) -> Columns:
    columns: Columns = {"created": entry.at, "noun": entry.noun, "subject": entry.subject}
    return {"seq": entry.seq, **columns} if entry.seq else columns


def _pending_columns(pending: Pending) -> Columns:
    return {
        "id": pending.id,
        "created": pending.created_at,
        "subject": pending.subject,
        "effect": pending.effect,
        "not_before": pending.not_before,
    }


def _log_chunk_columns(chunk: LogChunk) -> Columns:
    return {"id": chunk.id, "created": chunk.first, "lease": chunk.lease, "first": chunk.first}


def _withdrawal_columns(withdrawal: Withdrawal) -> Columns:
    return {
        "id": withdrawal.id,
        "created": withdrawal.created_at,
        "account": withdrawal.account,
        "state": withdrawal.state,
        "amount": withdrawal.amount,
    }


def _mark_columns(mark: Mark) -> Columns:
    return {"id": mark.id, "created": 0}


SHAPES: Final[Mapping[type[Struct], Shape]] = {
    Job: Shape("job", _job_columns, _decoder(Job)),
    Lease: Shape("lease", _lease_columns, _decoder(Lease)),
    Channel: Shape("channel", _channel_columns, _decoder(Channel)),
    Offer: Shape("offer", _offer_columns, _decoder(Offer)),
    Account: Shape("account", _account_columns, _decoder(Account)),
    ApiKey: Shape("api_key", _api_key_columns, _decoder(ApiKey), unique=("digest",)),
    Answer: Shape("answer", _answer_columns, _decoder(Answer)),
    Entry: Shape("entry", _entry_columns, _entry, key="seq", order=("seq",)),
    Pending: Shape("pending", _pending_columns, _decoder(Pending)),
    LogChunk: Shape("log_chunk", _log_chunk_columns, _decoder(LogChunk)),
    Withdrawal: Shape("withdrawal", _withdrawal_columns, _decoder(Withdrawal)),
    Mark: Shape("mark", _mark_columns, _decoder(Mark)),
}

"""Every message with every one of its values spoilt: the node refuses with a code, and nothing goes wrong inside."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from market.dialogue import (
    BidMade,
    BookDigest,
    Cancel,
    Commit,
    Finish,
    GetFile,
    Line,
    Logs,
    Offers,
    OrderPosted,
    Pay,
    Phase,
    Propose,
    RefundAsked,
    Refusal,
    Release,
    Renew,
    Renewal,
    Samples,
    Statement,
    Withdrawn,
)
from market.errors import BadMessage
from market.leases import LeaseState
from market.messages import _HEADER as HEADER
from market.messages import _PREFIX as PREFIX
from market.messages import MAGIC, MAX_DIRECT, Kind, open_envelope
from market.receipts import receipt_digest
from market.series import Reading
from market.signing import keccak
from market.units import PeerId
from market.workloads import spec_digest
from tests.builders import DIGEST, NOW, a_bid, a_file, a_gpu_offer, a_receipt, a_workload, an_order
from tests.node.actions.stage import LEASE, NETWORK, Stage, key_of, staged

S = LeaseState
WORKLOAD = a_workload(inputs=(a_file(),), outputs=("out",), env={"A": "b"})
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**53, 2**62, 2**63, 2**64, 10**400, 0.5, -1e308, "", "x", "0x" + "ff" * 20, "lse_000001\n",
    "../../x", "a" * 100_000, "\ud83d\ude00\0", "ff" * 32, "running", "settled", "unknown", [], [[]], {}, {"a": 1},
    [None] * 2000, ["x"] * 2000, [[0, 0]] * 2000,
)  # fmt: skip


def messages(stage: Stage) -> Iterator[tuple[str, str, Kind, Struct]]:
    """(to, by, kind, payload) of every kind, valid as they stand."""
    receipt = a_receipt(outputs=(a_file(path="out/a"),), due=10005)
    signature = key_of("seller").sign(receipt_digest(receipt)).hex()
    yield "seller", "buyer", Kind.PROPOSE, Propose(stage.terms(lease="lse_000009"))
    yield "seller", "buyer", Kind.COMMIT, Commit(LEASE, WORKLOAD, "nonce", "00" * 65)
    yield "seller", "buyer", Kind.RELEASE, Release(LEASE)
    yield "seller", "buyer", Kind.RENEW, Renew((Renewal(LEASE, NOW + 30_000),))
    yield "seller", "buyer", Kind.CANCEL, Cancel(LEASE)
    yield "seller", "buyer", Kind.PAY, Pay(stage.signed(10))
    yield "seller", "buyer", Kind.FILE, GetFile(LEASE, DIGEST, 0)
    yield "seller", "buyer", Kind.REFUND, RefundAsked(stage.channel().id)
    yield "seller", "buyer", Kind.BOOK, BookDigest(((1, 2),))
    yield "buyer", "seller", Kind.BID, BidMade(a_bid())
    yield "buyer", "seller", Kind.STATEMENT, Statement(Phase(LEASE, "running", NOW), 5, 10)
    yield "buyer", "seller", Kind.FINISH, Finish(receipt, signature)
    yield "buyer", "seller", Kind.SAMPLES, Samples(LEASE, (Reading(NOW, 500, 2**20, 10, 20, 900),))
    yield "buyer", "seller", Kind.LOGS, Logs(LEASE, 0, (Line(NOW, "stdout", "words"),))


def spoilt(value: Any) -> Iterator[Any]:
    """Copies of a JSON value with one place in it replaced by something wrong, or taken out."""
    for path in paths(value):
        for wrong in WRONG:
            yield changed(value, path, wrong)
        if path:
            yield changed(value, path, None, is_gone=True)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths(inner, (*path, key))


def changed(value: Any, path: tuple[Any, ...], wrong: Any, is_gone: bool = False) -> Any:
    if not path:
        return wrong
    copied = copy.deepcopy(value)
    place = copied
    for key in path[:-1]:
        place = place[key]
    if is_gone:
        del place[path[-1]]
    else:
        place[path[-1]] = wrong
    return copied


def sealed(by: str, kind: Kind, body: bytes) -> bytes:
    """An envelope around any bytes, rightly signed."""
    signer = key_of(by)
    sender = bytes.fromhex(signer.address[2:])
    head = HEADER.pack(MAGIC, NETWORK, kind, sender, 1, NOW, NOW + 30_000, len(body)) + body
    return head + signer.sign(keccak(PREFIX + head))


async def codes_of(stage: Stage, to: str, by: str, data: bytes) -> tuple[str, ...]:
    if len(data) > MAX_DIRECT:
        return ()
    answer = await stage.node(to).peers.answer(PeerId(f"peer-{by}"), data)
    if answer[:1] == b"F":
        return ()
    envelope = open_envelope(answer, NETWORK, stage.clock.now(), MAX_DIRECT)
    is_refusal = envelope.kind is Kind.REFUSAL
    return msgspec.json.decode(envelope.payload, type=Refusal).codes if is_refusal else ()


@pytest.mark.parametrize("state", [S.OFFERED, S.ACCEPTED, S.RUNNING, S.FINISHED, S.CANCELLED, S.SETTLED])
def test_no_spoilt_message_goes_wrong_inside(tmp_path: Path, state: LeaseState) -> None:
    async def play(stage: Stage) -> None:
        terms = stage.terms(spec_digest=spec_digest(WORKLOAD, "nonce"))
        for owner in ("buyer", "seller"):
            await stage.lease(owner, state, terms=terms, workload=WORKLOAD)
        stage.clock.advance(5_000)
        rows = {owner: copy.deepcopy(stage.storages[owner]._tables) for owner in ("buyer", "seller")}
        for to, by, kind, payload in messages(stage):
            for body in spoilt(msgspec.to_builtins(payload)):
                stage.storages[to]._tables = copy.deepcopy(rows[to])
                data = sealed(by, kind, json.dumps(body).encode())
                assert "INTERNAL_ERROR" not in await codes_of(stage, to, by, data), (kind, body)

    staged(tmp_path, play)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 200_000, b'{"a":' * 100_000, b"NaN", b'{"lease": NaN}', b"\xff\xfe", b"\0" * 1000, b"1e999999"],
    ids=["empty", "open", "deep list", "deep object", "NaN", "NaN inside", "no UTF-8", "zeros", "infinite"],
)
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind >= 10])
def test_what_is_no_json_is_a_bad_message(tmp_path: Path, kind: Kind, body: bytes) -> None:
    async def play(stage: Stage) -> None:
        for to in ("buyer", "seller"):
            codes = await codes_of(stage, to, "stranger", sealed("stranger", kind, body))
            assert codes in (("BAD_MESSAGE",), ("SERVICE_UNAVAILABLE",))

    staged(tmp_path, play)


def test_no_spoilt_gossip_goes_wrong_inside(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        offer = a_gpu_offer(provider=key_of("seller").address, id=f"off_{key_of('seller').address[2:22]}")
        order = an_order(requester=key_of("seller").address)
        for kind, payload in (
            (Kind.OFFERS, Offers((offer,))),
            (Kind.ORDER, OrderPosted(order)),
            (Kind.WITHDRAW, Withdrawn((offer.id,))),
        ):
            for body in spoilt(msgspec.to_builtins(payload)):
                data = sealed("seller", kind, json.dumps(body).encode())
                try:
                    stage.buyer.book.receive("topic", data)
                except BadMessage:
                    continue
                stage.buyer.book.book.match(order, NOW, {})
                stage.buyer.market.prices()
                stage.buyer.market.stats()
                stage.buyer.book.sweep()

    staged(tmp_path, play)

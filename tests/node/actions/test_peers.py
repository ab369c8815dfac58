"""Questions and answers between peers: everything is signed, and every failure is a refusal with a code."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from market.dialogue import Cancel, Done, Release
from market.errors import BadMessage, BadSignature, PeerUnreachable
from market.errors import Refused as RefusedByPeer
from market.messages import Kind, seal
from tests.builders import NOW
from tests.node.actions.stage import LEASE, NETWORK, Refused, Stage, key_of, staged

_done = msgspec.json.Decoder(Done)


def sealed(**changes: Any) -> bytes:
    fields = {"signer": key_of("buyer"), "network": NETWORK, "kind": Kind.CANCEL, "seq": 1, "now": NOW, "ttl": 30_000}
    return seal(**{**fields, "payload": Cancel(LEASE), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "BAD_MESSAGE"),
        (b"x" * 5000, "BAD_MESSAGE"),
        (sealed(network=b"elsewher"), "BAD_MESSAGE"),
        (sealed(payload=Release("x")), "BAD_MESSAGE"),
        (sealed(ttl=0), "STALE_MESSAGE"),
        (sealed(now=NOW + 60_000), "STALE_MESSAGE"),
        (sealed()[:-65] + bytes(65), "BAD_SIGNATURE"),
        (sealed(kind=Kind.REPLY), "SERVICE_UNAVAILABLE"),
        (sealed(kind=Kind.BID), "BAD_MESSAGE"),
        (sealed(), "NOT_FOUND"),
    ],
    ids=[
        "empty",
        "garbage",
        "network",
        "payload",
        "expired",
        "future",
        "signature",
        "no question",
        "other payload",
        "no lease",
    ],
)
def test_whatever_comes_is_answered_with_a_code(tmp_path: Path, data: bytes, code: str) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(Refused) as caught:
            await stage.raw("seller", data)
        assert caught.value.args == (code,)

    staged(tmp_path, play)


def test_a_fault_of_our_own_is_told_without_its_details(tmp_path: Path) -> None:
    async def broken(envelope: Any, message: Any) -> Done:
        raise RuntimeError("secret detail")

    async def play(stage: Stage) -> None:
        stage.seller.peers.on(Kind.CANCEL, Cancel, broken)
        with pytest.raises(Refused) as caught:
            await stage.raw("seller", sealed())
        assert caught.value.args == ("INTERNAL_ERROR",)

    staged(tmp_path, play)


def test_a_node_that_does_not_sell_does_not_answer_requesters(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        await stage.is_refused("SERVICE_UNAVAILABLE", "buyer", Kind.CANCEL, Cancel(LEASE), "seller")

    staged(tmp_path, play)


def test_a_refusal_reaches_the_asker_with_its_codes(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(RefusedByPeer) as caught:
            await stage.buyer.peers.ask("peer-seller", Kind.CANCEL, Cancel(LEASE), _done)
        assert caught.value.details["codes"] == ("NOT_FOUND",)

    staged(tmp_path, play)


def test_a_peer_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(PeerUnreachable):
            await stage.buyer.peers.ask("peer-nobody", Kind.CANCEL, Cancel(LEASE), _done)

    staged(tmp_path, play)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", BadMessage),
        (sealed(), BadMessage),
        (sealed(kind=Kind.REPLY, payload=Cancel(LEASE))[:-1] + b"\x00", BadSignature),
        (sealed(kind=Kind.REPLY, network=b"elsewher"), BadMessage),
    ],
    ids=["empty", "a question", "unsigned", "another network"],
)
def test_an_answer_that_is_none_is_not_believed(tmp_path: Path, answer: bytes, error: type[Exception]) -> None:
    async def say(peer: Any, data: bytes) -> bytes:
        return answer

    async def play(stage: Stage) -> None:
        stage.seller.peers.network.serve(say)
        with pytest.raises(error):
            await stage.buyer.peers.ask("peer-seller", Kind.CANCEL, Cancel(LEASE), _done)

    staged(tmp_path, play)


def test_no_two_messages_of_a_node_have_one_number(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        messages = [stage.buyer.peers.seal(Kind.CANCEL, Cancel(LEASE)) for _ in range(3)]
        assert len(set(messages)) == 3

    staged(tmp_path, play)

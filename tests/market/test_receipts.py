"""Receipts and the log chain: what is signed is exactly what is meant."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from market.errors import BadSignature
from market.receipts import GENESIS, Receipt, chain_log, output_digest, receipt_digest
from market.signing import keccak, require_signer
from tests.builders import NOW, PROVIDER, a_file, a_receipt, a_signer

CHANGES = {
    "lease": "lse_000002",
    "exit_code": 1,
    "code": "TIMEOUT",
    "message": "m",
    "started_at": NOW + 1,
    "ended_at": NOW + 1,
    "seconds": 6,
    "runs": 1,
    "due": 51,
    "outputs": (a_file(),),
    "log_lines": 1,
    "log_head": "1" * 64,
}


def test_the_digest_is_keccak_over_a_prefix_and_json_in_the_order_of_the_fields() -> None:
    receipt = a_receipt()
    body = msgspec.json.encode(receipt, order="deterministic")
    assert receipt_digest(receipt) == keccak(b"neugrid receipt v1\n" + body)


@pytest.mark.parametrize("name", [field.name for field in fields(Receipt)])
def test_every_field_is_signed(name: str) -> None:
    assert receipt_digest(replace(a_receipt(), **{name: CHANGES[name]})) != receipt_digest(a_receipt())


def test_the_digest_survives_the_wire() -> None:
    receipt = a_receipt(outputs=(a_file(),), message="täß")
    assert receipt_digest(msgspec.json.decode(msgspec.json.encode(receipt), type=Receipt)) == receipt_digest(receipt)


def test_another_key_has_not_signed_it() -> None:
    digest = receipt_digest(a_receipt())
    require_signer(digest, a_signer(1).sign(digest), PROVIDER)
    with pytest.raises(BadSignature):
        require_signer(digest, a_signer(2).sign(digest), PROVIDER)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("exit_code", 256),
        ("exit_code", -2),
        ("seconds", -1),
        ("due", 2**62 + 1),
        ("log_head", "x" * 64),
        ("code", "C" * 65),
    ],
)
def test_a_receipt_out_of_bounds_does_not_decode(field: str, value: object) -> None:
    body = msgspec.to_builtins(a_receipt()) | {field: value}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, Receipt)


def test_the_output_digest_does_not_depend_on_the_order_of_the_files() -> None:
    one, two = a_file(path="a"), a_file(path="b", digest="cd" * 32)
    assert output_digest(a_receipt(outputs=(one, two))) == output_digest(a_receipt(outputs=(two, one)))


@pytest.mark.parametrize("change", [{"path": "x"}, {"digest": "cd" * 32}, {"size": 101}])
def test_the_output_digest_depends_on_path_content_and_size(change: dict[str, object]) -> None:
    changed = a_receipt(outputs=(a_file(**change),))
    assert output_digest(changed) != output_digest(a_receipt(outputs=(a_file(),)))


def test_no_outputs_have_the_digest_of_an_empty_list() -> None:
    assert output_digest(a_receipt()) == hashlib.sha256(b"[]").hexdigest()


def test_a_link_of_the_log_chain_is_sha256_over_json() -> None:
    link = msgspec.json.encode([GENESIS, NOW, "stdout", "hello"])
    assert chain_log(GENESIS, NOW, "stdout", "hello") == hashlib.sha256(link).hexdigest()


lines = st.lists(
    st.tuples(st.integers(0, 2**53), st.sampled_from(["stdout", "stderr"]), st.text(max_size=20)),
    min_size=1,
    max_size=8,
)


def head_of(history: list[tuple[int, str, str]]) -> str:
    head = GENESIS
    for at, stream, text in history:
        head = chain_log(head, at, stream, text)
    return head


@given(lines, st.data())
def test_a_line_that_is_left_out_changed_or_moved_changes_the_head(
    history: list[tuple[int, str, str]], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(history) - 1))
    at, stream, text = history[index]
    without = history[:index] + history[index + 1 :]
    changed = [*history[:index], (at, stream, text + "!"), *history[index + 1 :]]
    assert len({head_of(history), head_of(without), head_of(changed)}) == 3


def test_a_boundary_between_fields_can_not_be_moved() -> None:
    assert chain_log(GENESIS, 1, "stdout", "ab") != chain_log(GENESIS, 1, "stdouta", "b")

"""The hand-made encodings are those of the libraries they spare."""

from eth_abi import encode
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codec import compact, encode_claim, encode_deposit_many, revert_reason
from contracts.fees import FEE_CAP, outbid, quote
from contracts.transactions import Fees, Unsigned, contract_address, sign_transaction
from contracts.values import Call, Claim, Funding
from market.signing import Signer, keccak
from market.units import Address, Amount

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex()))
amounts = st.integers(0, 2**128 - 1).map(Amount)
digests = st.binary(min_size=32, max_size=32)
KEY = b"\x2a" * 32


@settings(max_examples=50, deadline=None)
@given(addresses, st.lists(st.tuples(addresses, addresses, amounts, digests), max_size=4))
def test_claims_are_packed_as_the_abi_says(payee: Address, rows: list[tuple[Address, Address, Amount, bytes]]) -> None:
    signed = [(*row[:3], Signer(KEY).sign(row[3])) for row in rows]
    claims = [Claim(payer=p, signer=s, cumulative=c, signature=g) for p, s, c, g in signed]
    expected = encode(
        ["address", "(address,address,uint256,bytes32,bytes32)[]"],
        [payee, [(p, s, c, compact(g)[:32], compact(g)[32:]) for p, s, c, g in signed]],
    )
    data = encode_claim(payee, claims)
    assert data[:4] == keccak(b"claim(address,(address,address,uint256,bytes32,bytes32)[])")[:4]
    assert data[4:] == expected


@settings(max_examples=50, deadline=None)
@given(addresses, st.lists(st.tuples(addresses, addresses, amounts), max_size=4))
def test_fundings_are_packed_as_the_abi_says(payer: Address, rows: list[tuple[Address, Address, Amount]]) -> None:
    fundings = [Funding(signer=s, payee=p, amount=a) for s, p, a in rows]
    expected = encode(["address", "(address,address,uint256)[]"], [payer, rows])
    assert encode_deposit_many(payer, fundings)[4:] == expected


@settings(max_examples=50, deadline=None)
@given(
    nonce=st.integers(0, 2**32), to=st.none() | addresses, value=st.integers(0, 2**96), data=st.binary(max_size=300),
    most=st.integers(1, 2**40),
)  # fmt: skip
def test_transactions_are_signed_byte_for_byte(
    nonce: int, to: Address | None, value: int, data: bytes, most: int
) -> None:
    fees = Fees(most=most, tip=most // 2)
    call = Call(to=to, data=data, value=value)
    mine = sign_transaction(Unsigned(chain_id=31337, nonce=nonce, call=call, gas=99_999, fees=fees), Signer(KEY))
    fields = {
        "type": 2, "chainId": 31337, "nonce": nonce, "value": value, "data": data, "gas": 99_999,
        "maxFeePerGas": most, "maxPriorityFeePerGas": most // 2,
    }  # fmt: skip
    theirs = Account.from_key(KEY).sign_transaction(fields | ({"to": bytes.fromhex(to[2:])} if to else {}))
    assert mine.raw == bytes(theirs.raw_transaction)
    assert mine.hash == "0x" + theirs.hash.hex().removeprefix("0x")


def test_a_deployment_lands_where_the_rule_says() -> None:
    first = Address("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266")
    assert contract_address(first, 0) == "0x5fbdb2315678afecb367f032d93f642f64180aa3"


def test_revert_data_become_words() -> None:
    text = keccak(b"Error(string)")[:4] + encode(["string"], ["exit not ready"])
    assert revert_reason(text) == "exit not ready"
    assert revert_reason(keccak(b"Panic(uint256)")[:4] + encode(["uint256"], [17])) == "panic 0x11"
    assert revert_reason(b"") == ""


@given(base=st.integers(1, 10**12), tip=st.integers(0, 10**12), now=st.integers(1, 10**12))
def test_a_new_price_always_replaces_the_old_one_and_stays_under_the_cap(base: int, tip: int, now: int) -> None:
    old = quote(base, tip)
    new = outbid(old, now, tip)
    assert old.tip <= old.most <= FEE_CAP
    if new is not None:
        assert new.most <= FEE_CAP
        assert new.tip <= new.most
        assert new.most * 10 >= old.most * 11
        assert new.tip * 10 >= old.tip * 11

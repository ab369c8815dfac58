"""Random histories of Channels, hostile moves included, held against the ghost ledger after every step."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contracts.artifacts import Artifact, load
from contracts.codec import encode_call, encode_claim, encode_deposit_many, numbers
from contracts.values import Claim, Funding
from market.signing import Signer, eip712_domain
from market.units import Address, Amount
from market.vouchers import channel_id, voucher_digest
from tests.contracts.evm import Evm, Reverted
from tests.contracts.ledger import Key, Ledger, Refused

CHALLENGE, EXIT_LIFE, FEE_BPS, PURSE = 86_400, 7 * 86_400, 100, 2_000
SINK = Address("0x000000000000000000000000000000000000dead")
PAYERS = [Signer(bytes([n]) * 32).address for n in (1, 2)]
PAYEES = [Signer(bytes([n]) * 32).address for n in (3, 4)]
SIGNER, THIEF = Signer(b"\x05" * 32), Signer(b"\x06" * 32)
MINTER = Address("0x" + "77" * 20)

payers = st.sampled_from(PAYERS)
payees = st.sampled_from(PAYEES)
anyone = st.sampled_from([*PAYERS, *PAYEES, THIEF.address])
amounts = st.sampled_from([0, 1, 49, 150, 333])
parts = st.sampled_from([11, 10, 5, 3, 1, 7, 0, 10])
picks = st.lists(st.integers(0, 99), min_size=1, max_size=3)
moments = st.sampled_from([-1, 0, 0, 0, 1, EXIT_LIFE, EXIT_LIFE + 1])
twice = st.integers(1, 2)


def forge_other_chain(key: Key, cumulative: int, hub: Address) -> bytes:
    return sign(SIGNER, key, cumulative, eip712_domain(1, hub))


def forge_other_contract(key: Key, cumulative: int, hub: Address) -> bytes:
    return sign(SIGNER, key, cumulative, eip712_domain(31337, SINK))


def forge_other_payee(key: Key, cumulative: int, hub: Address) -> bytes:
    other = PAYEES[1 - PAYEES.index(key[2])]
    return sign(SIGNER, (key[0], key[1], other), cumulative, eip712_domain(31337, hub))


def forge_other_payer(key: Key, cumulative: int, hub: Address) -> bytes:
    other = PAYERS[1 - PAYERS.index(key[0])]
    return sign(SIGNER, (other, key[1], key[2]), cumulative, eip712_domain(31337, hub))


def forge_other_amount(key: Key, cumulative: int, hub: Address) -> bytes:
    return sign(SIGNER, key, max(0, cumulative - 1), eip712_domain(31337, hub))


def forge_other_key(key: Key, cumulative: int, hub: Address) -> bytes:
    return sign(THIEF, key, cumulative, eip712_domain(31337, hub))


def forge_noise(key: Key, cumulative: int, hub: Address) -> bytes:
    return bytes(64) + b"\x1b"


Forge = Callable[[Key, int, Address], bytes]
FORGERIES: list[Forge] = [
    forge_other_chain, forge_other_contract, forge_other_payee, forge_other_payer, forge_other_amount,
    forge_other_key, forge_noise,
]  # fmt: skip


def share(limit: int, part: int) -> int:
    """`part` tenths of the limit; the eleventh is one too many."""
    return limit + 1 if part == 11 else limit * part // 10


def key_of(payer: Address, payee: Address) -> Key:
    return payer, SIGNER.address, payee


def sign(signer: Signer, key: Key, cumulative: int, domain: bytes) -> bytes:
    return signer.sign(voucher_digest(domain, channel_id(*key), cumulative))


class ChannelsMachine(RuleBasedStateMachine):
    """Payers, payees and a thief act in any order; every answer and every balance is predicted."""

    artifact: Artifact = load("Channels")

    def __init__(self) -> None:
        super().__init__()
        self.evm = Evm()
        self.token = self.evm.deploy(load("Token"), MINTER)
        self.hub = self.evm.deploy(self.artifact, MINTER, self.token, CHALLENGE, FEE_BPS)
        wallets = {who: PURSE if who in PAYERS else 0 for who in [*PAYERS, *PAYEES, THIEF.address]}
        self.ledger = Ledger(CHALLENGE, EXIT_LIFE, FEE_BPS, wallets)
        self.signed: list[tuple[Key, int, bytes]] = []
        for payer in PAYERS:
            self.evm.send(MINTER, self.token, "mint(address,uint256)", payer, PURSE)
            self.evm.send(payer, self.token, "approve(address,uint256)", self.hub, 2**256 - 1)
            self._deposit_many(payer, [(PAYEES[0], 333), (PAYEES[1], 150)])

    # --- honest moves ---

    @rule(payer=payers, sender=payers, payee=payees, amount=amounts)
    def deposit(self, payer: Address, sender: Address, payee: Address, amount: int) -> None:
        data = encode_call("deposit(address,address,address,uint256)", payer, SIGNER.address, payee, amount)
        self._expect(sender, data, lambda: self.ledger.fund(sender, [(key_of(payer, payee), amount)]))

    @rule(payer=payers, each=st.lists(st.tuples(payees, amounts), max_size=3))
    def deposit_many(self, payer: Address, each: list[tuple[Address, int]]) -> None:
        self._deposit_many(payer, each)

    @rule(payer=payers, payee=payees, part=parts, is_claimed=st.booleans())
    def pay(self, payer: Address, payee: Address, part: int, is_claimed: bool) -> None:
        self._sign(key_of(payer, payee), part)
        if is_claimed:
            self._claim(THIEF.address, payee, [(*self.signed[-1], True)])

    @rule(sender=anyone, payee=payees, picks=picks)
    def claim(self, sender: Address, payee: Address, picks: list[int]) -> None:
        self._claim(sender, payee, self._chosen(payee, picks))

    @rule(payee=payees, to=anyone, times=twice)
    def withdraw(self, payee: Address, to: Address, times: int) -> None:
        for _ in range(times):
            self._expect(payee, encode_call("withdraw(address)", to), lambda: self.ledger.withdraw(payee, to))

    @rule(payer=payers, payee=payees, part=parts)
    def start_exit(self, payer: Address, payee: Address, part: int) -> None:
        key = key_of(payer, payee)
        amount = share(self.ledger.rows[key].deposited, part)
        data = encode_call("start_exit(address,address,uint256)", SIGNER.address, payee, amount)
        self._expect(payer, data, lambda: self.ledger.start_exit(key, amount, self.evm.now))

    @rule(pick=st.integers(0, 9), part=parts, moment=moments, times=twice, is_claimed=st.booleans())
    def finish_exit(self, pick: int, part: int, moment: int, times: int, is_claimed: bool) -> None:
        """At a moment around the one when an armed exit gets ready; arms one when there is none."""
        armed = [key for key, row in self.ledger.rows.items() if row.exiting]
        if not armed:
            self.start_exit(PAYERS[pick % 2], PAYEES[pick % 4 // 2], part)
            armed = [key for key, row in self.ledger.rows.items() if row.exiting] or [key_of(PAYERS[0], PAYEES[0])]
        key = armed[pick % len(armed)]
        if is_claimed:
            self.pay(key[0], key[2], part, True)
        self.evm.now = max(self.evm.now, self.ledger.rows[key].ready_at + moment)
        data = encode_call("finish_exit(address,address)", SIGNER.address, key[2])
        for _ in range(times):
            self._expect(key[0], data, lambda: self.ledger.finish_exit(key, self.evm.now))

    @rule(payer=payers, payee=payees, part=parts, paid=st.sampled_from([0, 3, 7]))
    def release(self, payer: Address, payee: Address, part: int, paid: int) -> None:
        key = key_of(payer, payee)
        self.pay(payer, payee, paid, True)
        amount = share(self.ledger.rows[key].unclaimed, part)
        data = encode_call("release(address,address,uint256)", payer, SIGNER.address, amount)
        self._expect(payee, data, lambda: self.ledger.release(key, amount))

    @rule(sender=anyone, times=twice)
    def sweep(self, sender: Address, times: int) -> None:
        for _ in range(times):
            self._expect(sender, encode_call("sweep()"), self.ledger.sweep)

    # --- hostile moves ---

    @rule(payer=payers, payee=payees, more=parts, forge=st.sampled_from(FORGERIES), picks=picks)
    def claim_forged(self, payer: Address, payee: Address, more: int, forge: Forge, picks: list[int]) -> None:
        key = key_of(payer, payee)
        cumulative = self.ledger.rows[key].claimed + more
        forged = (key, cumulative, forge(key, cumulative, self.hub), False)
        self._claim(THIEF.address, payee, [*self._chosen(payee, picks[1:]), forged])

    @rule(payer=payers, payee=payees)
    def claim_from_the_zero_signer(self, payer: Address, payee: Address) -> None:
        zero = Address("0x" + "00" * 20)
        self._refused(payer, encode_call("deposit(address,address,address,uint256)", payer, zero, payee, 1))
        self._claim(THIEF.address, payee, [((payer, zero, payee), 1, bytes(64) + b"\x1b", False)])

    @rule(payer=payers, thief=anyone, payee=payees)
    def take_what_is_not_theirs(self, payer: Address, thief: Address, payee: Address) -> None:
        row = self.ledger.rows.get(key_of(payer, thief))
        theirs = row.unclaimed if row else 0
        data = encode_call("release(address,address,uint256)", payer, SIGNER.address, theirs + 1)
        self._refused(thief, data)
        if thief not in PAYERS:
            self._refused(thief, encode_call("finish_exit(address,address)", SIGNER.address, payee))
        for good in self._chosen(payee, [0]):
            other = key_of(good[0][0], PAYEES[1 - PAYEES.index(payee)])
            self._claim(thief, other[2], [(other, good[1], good[2], False)])

    # --- what always holds ---

    @invariant()
    def every_channel_is_as_the_ledger_says(self) -> None:
        for key, row in self.ledger.rows.items():
            data = encode_call("channel(bytes32)", bytes.fromhex(channel_id(*key)))
            assert self._read(data) == self.ledger.shown(key, self.evm.now), key
            assert row.claimed <= min(row.deposited, row.promised), key

    @invariant()
    def every_token_is_accounted_for(self) -> None:
        for who, tokens in [*self.ledger.wallets.items(), (self.hub, self.ledger.held), (SINK, self.ledger.burned)]:
            assert self.evm.send(who, self.token, "balanceOf(address)", who) == [tokens], who
        for payee in PAYEES:
            assert self._read(encode_call("earned(address)", payee)) == [self.ledger.earned[payee]], payee
        assert self._read(encode_call("fees()")) == [self.ledger.fees]

    def _deposit_many(self, payer: Address, each: list[tuple[Address, int]]) -> None:
        fundings = [Funding(signer=SIGNER.address, payee=payee, amount=Amount(amount)) for payee, amount in each]
        rows = [(key_of(payer, payee), amount) for payee, amount in each]
        self._expect(payer, encode_deposit_many(payer, fundings), lambda: self.ledger.fund(payer, rows))

    def _sign(self, key: Key, part: int) -> None:
        row = self.ledger.rows[key]
        row.promised += share(max(0, row.deposited - row.promised), part)
        good = sign(SIGNER, key, row.promised, eip712_domain(31337, self.hub))
        self.signed.append((key, row.promised, good))

    def _chosen(self, payee: Address, picks: list[int]) -> list[tuple[Key, int, bytes, bool]]:
        if not any(voucher[0][2] == payee for voucher in self.signed):
            self._sign(key_of(PAYERS[0], payee), 7)
        mine = [(*voucher, True) for voucher in self.signed if voucher[0][2] == payee]
        return [mine[-1 - pick % len(mine)] for pick in picks]

    def _claim(self, sender: Address, payee: Address, rows: list[tuple[Key, int, bytes, bool]]) -> None:
        claims = [
            Claim(payer=key[0], signer=key[1], cumulative=Amount(cumulative), signature=signature)
            for key, cumulative, signature, _ in rows
        ]
        model = [(key, cumulative, is_good) for key, cumulative, _, is_good in rows]
        self._expect(sender, encode_claim(payee, claims), lambda: self.ledger.claim(payee, model))

    def _expect(self, sender: Address, data: bytes, predict: Callable[[], Any]) -> None:
        try:
            predicted = predict()
        except Refused:
            self._refused(sender, data)
            return
        answer = numbers(self.evm.send_data(sender, self.hub, data))
        assert answer == ([] if predicted is None else [predicted])

    def _refused(self, sender: Address, data: bytes) -> None:
        try:
            self.evm.send_data(sender, self.hub, data)
        except Reverted:
            return
        raise AssertionError("the contract accepted what the ledger refuses")

    def _read(self, data: bytes) -> list[int]:
        return numbers(self.evm.send_data(MINTER, self.hub, data))

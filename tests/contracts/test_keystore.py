"""Keys at rest open with their password, in every wallet, and for their owner alone."""

import hashlib
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eth_account import Account

from contracts.keystore import STRONG, create_key, encrypt, load_key, load_keys, new_salt, save_key
from market.errors import ConfigError
from market.signing import Signer

SECRET = b"\x2a" * 32


def test_a_made_key_opens_again(tmp_path: Path) -> None:
    address = create_key(tmp_path / "keys" / "payer.json", "open sesame", light=True)
    assert Signer(load_key(tmp_path / "keys" / "payer.json", "open sesame")).address == address


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    create_key(tmp_path / "key.json", "x", light=True)
    assert stat.S_IMODE((tmp_path / "key.json").stat().st_mode) == 0o600


def test_a_wrong_password_is_said_so(tmp_path: Path) -> None:
    create_key(tmp_path / "key.json", "right", light=True)
    with pytest.raises(ConfigError, match="password does not open"):
        load_key(tmp_path / "key.json", "wrong")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    create_key(tmp_path / "key.json", "x", light=True)
    before = (tmp_path / "key.json").read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        create_key(tmp_path / "key.json", "y", light=True)
    assert (tmp_path / "key.json").read_bytes() == before


def test_other_wallets_open_ours_and_we_open_theirs(tmp_path: Path) -> None:
    save_key(tmp_path / "ours.json", SECRET, "pass", light=True)
    ours = msgspec.json.decode((tmp_path / "ours.json").read_bytes())
    assert bytes(Account.decrypt(ours, "pass")) == SECRET
    theirs = Account.encrypt(SECRET, "pass", kdf="scrypt", iterations=2**12)
    (tmp_path / "theirs.json").write_bytes(msgspec.json.encode(theirs))
    assert load_key(tmp_path / "theirs.json", "pass") == SECRET


def test_real_keys_are_dear_to_guess() -> None:
    assert encrypt(SECRET, "pass")["crypto"]["kdfparams"]["n"] == STRONG == 2**18


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"7", b'{"version":3,"crypto":{}}', b'{"version":3,"crypto":7}'])
def test_what_is_no_keystore_is_said_so(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "key.json").write_bytes(text)
    with pytest.raises(ConfigError, match="no keystore"):
        load_key(tmp_path / "key.json", "x")


def test_a_missing_key_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no key"):
        load_key(tmp_path / "key.json", "x")


def test_keys_that_share_a_salt_cost_one_run_of_scrypt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, salt = [tmp_path / f"{name}.json" for name in ("node", "signer", "payer")], new_salt()
    addresses = [create_key(path, "open sesame", light=True, salt=salt) for path in paths]
    runs: list[bytes] = []
    derive = hashlib.scrypt

    def counted(password: bytes, **named: Any) -> bytes:
        runs.append(password)
        return derive(password, **named)

    monkeypatch.setattr(hashlib, "scrypt", counted)

    opened = load_keys(paths, "open sesame")

    assert [Signer(secret).address for secret in opened] == addresses
    assert len(runs) == 1
    documents = [msgspec.json.decode(path.read_bytes())["crypto"] for path in paths]
    assert len({document["cipherparams"]["iv"] for document in documents}) == 3

"""Keys at rest: Web3 Secret Storage v3 with scrypt, readable by every Ethereum wallet.

https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage. Written out here because the
usual library costs a second and 50 MB to import.
"""

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from market.errors import ConfigError
from market.signing import Signer, keccak
from market.units import Address

STRONG: Final = 2**18
"""scrypt's n: about 0.7 s and 256 MB for each guess."""
LIGHT: Final = 2**12
"""For keys of tests and devnets only."""
_MAX_N: Final = 2**20
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def create_key(path: Path, password: str, *, light: bool = False, salt: bytes = b"") -> Address:
    """Make a key, keep it in `path` (mode 0600) and tell its address; ConfigError when the file exists.

    Keys of one password may share a `salt`, so that one run of scrypt opens them all; b"" is one of its own.
    """
    secret = (secrets.randbelow(_ORDER - 1) + 1).to_bytes(32, "big")
    return save_key(path, secret, password, light=light, salt=salt)


def save_key(path: Path, secret: bytes, password: str, *, light: bool = False, salt: bytes = b"") -> Address:
    """Keep `secret` in `path` (mode 0600) and tell its address; ConfigError when the file exists."""
    address = Signer(secret).address
    document = encrypt(secret, password, LIGHT if light else STRONG, salt)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists; a key is never overwritten", path=str(path)) from None
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(document))
        file.flush()
        os.fsync(file.fileno())
    return address


def load_key(path: Path, password: str) -> bytes:
    """The secret in `path`; ConfigError when the file is missing or no keystore, or the password is wrong."""
    return load_keys([path], password)[0]


def load_keys(paths: Sequence[Path], password: str) -> list[bytes]:
    """The secrets in `paths`; those that share a salt cost one run of scrypt. ConfigError as for `load_key`."""
    derive = cache(partial(_derive, password))
    return [_loaded(path, derive) for path in paths]


def new_salt() -> bytes:
    """A salt for keys that are opened together."""
    return secrets.token_bytes(32)


def _loaded(path: Path, derive: Callable[..., bytes]) -> bytes:
    try:
        return _decrypt(msgspec.json.decode(path.read_bytes()), derive)
    except FileNotFoundError:
        raise ConfigError(f"there is no key at {path}", path=str(path)) from None
    except (KeyError, TypeError, ValueError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} is no keystore of version 3 with scrypt: {error}", path=str(path)) from error
    except PermissionError:
        raise ConfigError(f"the password does not open {path}", path=str(path)) from None


def encrypt(secret: bytes, password: str, n: int = STRONG, salt: bytes = b"") -> dict[str, Any]:
    """The keystore document of `secret`; its IV is always its own."""
    salt, iv = salt or new_salt(), secrets.token_bytes(16)
    derived = _derive(password, salt, n, 8, 1)
    ciphertext = _aes(derived[:16], iv, secret)
    return {
        "version": 3,
        "id": str(uuid.uuid4()),
        "address": Signer(secret).address[2:],
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": n, "r": 8, "p": 1, "salt": salt.hex()},
            "mac": keccak(derived[16:32] + ciphertext).hex(),
        },
    }


def _decrypt(document: dict[str, Any], derive: Callable[..., bytes]) -> bytes:
    """The secret of a document; PermissionError when the password is wrong, ValueError when it is another format."""
    crypto = document["crypto"]
    params = crypto["kdfparams"]
    if document["version"] != 3 or crypto["kdf"] != "scrypt" or crypto["cipher"] != "aes-128-ctr":
        raise ValueError("expected version 3, scrypt and aes-128-ctr")
    if not 2 <= params["n"] <= _MAX_N or not 1 <= params["r"] <= 16 or not 1 <= params["p"] <= 16:
        raise ValueError("scrypt parameters out of range")
    derived = derive(bytes.fromhex(params["salt"]), params["n"], params["r"], params["p"])
    ciphertext = bytes.fromhex(crypto["ciphertext"])
    if not hmac.compare_digest(keccak(derived[16:32] + ciphertext), bytes.fromhex(crypto["mac"])):
        raise PermissionError
    return _aes(derived[:16], bytes.fromhex(crypto["cipherparams"]["iv"]), ciphertext)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    room = 132 * n * r + 128 * r * p + 2**20
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=room, dklen=32)


def _aes(key: bytes, iv: bytes, data: bytes) -> bytes:
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()

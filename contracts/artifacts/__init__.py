"""The compiled contracts as they ship: ABI and init code, so that users need no compiler."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

FOLDER: Final = Path(__file__).parent


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled contract; `bytecode` is the 0x-hex init code without constructor arguments."""

    name: str
    compiler: str
    abi: list[dict[str, Any]]
    bytecode: str


@cache
def load(name: str) -> Artifact:
    """The shipped artifact of "Channels" or "Token"."""
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Artifact)

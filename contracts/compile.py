"""Compile the Vyper sources into `artifacts/`: `python -m contracts.compile`. Only development needs the compiler."""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.artifacts import FOLDER, Artifact

SOURCES: Final = FOLDER.parent
NAMES: Final = ("Channels", "Token")


def compile_source(name: str, source: str) -> Artifact:
    """The artifact of one Vyper source text."""
    import vyper  # a development dependency: never loaded on the run-time path

    built: dict[str, Any] = vyper.compile_code(source, output_formats=["abi", "bytecode", "method_identifiers"])
    return Artifact(name=name, compiler=f"vyper {vyper.__version__}", abi=built["abi"], bytecode=built["bytecode"])


def compile_contract(name: str) -> Artifact:
    """The artifact of `contracts/<name>.vy` as it is now."""
    return compile_source(name, source_of(name).read_text())


def source_of(name: str) -> Path:
    return SOURCES / f"{name}.vy"


def main() -> None:
    for name in NAMES:
        artifact = compile_contract(name)
        text = msgspec.json.format(msgspec.json.encode(artifact), indent=1)
        (FOLDER / f"{name}.json").write_bytes(text + b"\n")
        sys.stdout.write(f"{name}: {len(artifact.bytecode) // 2 - 1} bytes of init code\n")


if __name__ == "__main__":
    main()

"""Run a devnet by itself: `python -m contracts.devnet --data DIR [--port N] [--chain-id N] [--block-time S]`."""

import argparse
import asyncio
import sys
from pathlib import Path

from contracts.devnet.accounts import CHAIN_ID
from contracts.devnet.server import serve
from market.errors import ConfigError

EVM_DEPTH = 10_240
"""Enough for 1,024 nested calls. A library raises it to 100,000, where deep JSON would overflow the C stack."""


def main(arguments: list[str] | None = None) -> int:
    """Print the URL as the first line, then serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="devnet", description="A development chain on loopback.")
    parser.add_argument("--data", type=Path, dest="data_dir", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8545)
    parser.add_argument("--chain-id", type=int, default=CHAIN_ID)
    parser.add_argument("--block-time", type=float, default=0)
    chosen = parser.parse_args(arguments)
    sys.setrecursionlimit(EVM_DEPTH)
    try:
        asyncio.run(serve(chosen.host, chosen.port, chosen.data_dir, chosen.chain_id, chosen.block_time, _announce))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(url + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

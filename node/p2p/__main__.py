"""`python -m node.p2p FD`: the network process. Standard input is its socket to the node, FD the one for streams."""

import ctypes
import importlib
import logging
import os
import resource
import signal
import socket
import sys
from typing import Final

from node.p2p import lean

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Take the socket, load the lean libp2p, and serve."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for noisy in ("libp2p", "multiaddr", "async_service"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    _die_with_parent()
    # Ctrl-C goes to the whole terminal; the node decides when its network ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Otherwise each read returns its credit in a frame of its own: a third of the CPU of a busy node.
    os.environ["PY_YAMUX_RELEASE_ON_READ"] = "0"
    node, hatch = socket.socket(fileno=0), socket.socket(fileno=int(sys.argv[1]))
    _allow_many_files()
    lean.install()
    importlib.import_module("node.p2p.service").main(node, hatch)


def _die_with_parent() -> None:
    """Let the kernel end this process with its node, even while it hangs; elsewhere the closed socket does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _allow_many_files() -> None:
    """Every stream of bytes is a socket here, and every connection another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()

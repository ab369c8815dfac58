"""A js-libp2p peer, written from the protocol page alone, and a node of ours: gossip and requests, both ways."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from market.messages import Kind, open_envelope, seal
from market.units import PeerId
from node.adapters.network import LibP2PNetwork
from node.p2p.identity import address_of_peer
from tests.builders import NETWORK, a_signer
from tests.node.adapters.networks import WITHIN, Ears, a_network
from tests.node.p2p.said import TOPIC, now_ms

pytestmark = [
    pytest.mark.p2p,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="Node.js and npm are not installed"),
]
HERE = Path(__file__).parent
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")


class Words(Struct):
    text: str
    price: int


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JavaScript peer with its locked packages, in a folder of its own."""
    folder = tmp_path_factory.mktemp("javascript")
    for source in (*HERE.glob("*.mjs"), *HERE.glob("package*.json")):
        shutil.copy(source, folder)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
    if any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("the npm registry does not answer")
    assert done.returncode == 0, done.stderr
    return folder / "peer.mjs"


class Script:
    """A running JavaScript peer; `line` waits for a report with a certain key."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[dict[str, object]] = []

    async def line(self, key: str) -> object:
        assert self._process.stdout is not None
        async with asyncio.timeout(WITHIN):
            while not any(key in line for line in self._lines):
                self._lines.append(json.loads(await self._process.stdout.readline()))
        return next(line.pop(key) for line in self._lines if key in line)


@asynccontextmanager
async def a_script(program: Path, network: LibP2PNetwork) -> AsyncIterator[Script]:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(program),
        (await network.addresses())[0],
        TOPIC,
        NETWORK.hex(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=program.parent,
    )
    try:
        yield Script(process)
    finally:
        process.kill()
        await process.wait()


async def answer(peer: PeerId, data: bytes) -> bytes:
    return data if len(data) > 1000 else f"{peer} said {data.decode()}".encode()


def test_javascript_and_python_understand_each_other(program: Path, tmp_path: Path) -> None:
    asyncio.run(_converse(program, tmp_path))


async def _converse(program: Path, folder: Path) -> None:
    async with a_network(folder, 1) as ours, Ears(ours) as ears:
        ours.serve(answer)
        await ours.subscribe(TOPIC)
        async with a_script(program, ours) as script:
            peer = PeerId(str(await script.line("ready")))

            assert await script.line("answer") == f"{peer} said hello from javascript"
            assert await script.line("large") == 1024 * 1024
            assert await script.line("peers") == []

            (said,) = await ears.hears(1)
            envelope = open_envelope(said, NETWORK, now_ms())
            assert (envelope.sender, envelope.kind) == (address_of_peer(peer), Kind.OFFERS)
            assert envelope.payload == b'{"text":"said in javascript"}'

            ours_said = seal(
                a_signer(1), NETWORK, Kind.OFFERS, Words("said in python", 42), seq=7, now=now_ms(), ttl=60_000
            )
            await ours.publish(TOPIC, ours_said)
            heard = await script.line("heard")
            assert isinstance(heard, dict)
            assert (heard["sender"], heard["seq"]) == (a_signer(1).address, 7)
            assert heard["payload"] == {"text": "said in python", "price": 42}

            assert await ours.request(peer, b"a question", timeout=WITHIN) == b"javascript heard a question"

"""`python -m benchmarks.load URL KEY CLIENTS SECONDS`: posts jobs as fast as they are taken; prints jobs a second."""

import asyncio
import sys
import time

import uvloop

from benchmarks.agreement import BODY
from benchmarks.web import Line


async def main(url: str, key: str, clients: int, seconds: float) -> None:
    """Every client posts its next job when the last one was answered."""
    lines = [await Line.open(url, key) for _ in range(clients)]
    begun, count = time.perf_counter(), 0

    async def client(line: Line) -> None:
        nonlocal count
        while time.perf_counter() < begun + seconds:
            await line.send("POST", "/v1/jobs", BODY)
            count += 1

    await asyncio.gather(*map(client, lines))
    print(count / (time.perf_counter() - begun))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))

"""Hashes of passwords: argon2id, slow, and none for nobody."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from node.adapters.passwords import Argon2Passwords

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_password_fits_its_hash_and_no_other() -> None:
    passwords = Argon2Passwords()
    hash = await passwords.hash("correct horse")
    assert hash.startswith("$argon2id$")
    assert "correct" not in hash
    assert hash != await passwords.hash("correct horse")
    assert await passwords.fits("correct horse", hash)
    assert not await passwords.fits("Correct horse", hash)


@pytest.mark.parametrize("hash", ["", "no hash", "$argon2id$v=19$m=8,t=1,p=1$YQ$YQ"])
async def test_what_is_no_hash_fits_nothing_not_even_nothing(hash: str) -> None:
    passwords = Argon2Passwords()
    assert not await passwords.fits("", hash)
    assert not await passwords.fits("correct horse", hash)


async def test_the_loop_goes_on_while_it_hashes() -> None:
    passwords = Argon2Passwords()
    hashing = asyncio.create_task(passwords.hash("correct horse"))
    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 2


async def test_a_password_is_looked_at_although_every_other_thread_is_busy() -> None:
    loop, is_over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, is_over.wait)
    try:
        async with asyncio.timeout(30):
            assert not await Argon2Passwords().fits("correct horse", "")
    finally:
        is_over.set()
        await busy

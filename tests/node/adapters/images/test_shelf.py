"""What a node remembers of its images: over restarts, within bounds, and never more than it knows."""

from pathlib import Path

import pytest

from node.adapters.images import shelf as shelves
from node.adapters.images.shelf import SAVE_EVERY, Shelf
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


async def opened(file: Path | None, clock: FakeClock) -> Shelf:
    shelf = Shelf(file, clock)
    await shelf.open()
    return shelf


async def test_images_names_and_uses_survive_a_restart(tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "images.json"
    shelf = await opened(file, clock)
    await shelf.put(ONE, 1, name="a", handle="a@1")
    clock.advance(1)
    await shelf.put(TWO, 2, name="b")
    clock.advance(SAVE_EVERY)
    await shelf.use(ONE)
    again = await opened(file, clock)
    assert [(kept.id, kept.handles, kept.used_at) for kept in again.images()] == [
        (TWO, (), clock.now() - SAVE_EVERY),
        (ONE, ("a@1",), clock.now()),
    ]
    assert again.names() == {"a": ONE, "b": TWO}


async def test_what_goes_takes_its_names_and_builds_along(tmp_path: Path) -> None:
    shelf = await opened(tmp_path / "images.json", FakeClock())
    for id, name in ((ONE, "a"), (TWO, "b")):
        await shelf.put(id, 1, name=name)
        await shelf.remember(f"build of {name}", id)
    await shelf.drop([ONE, "sha256:unknown"])
    again = await opened(tmp_path / "images.json", FakeClock())
    assert (again.names(), again.image(ONE)) == ({"b": TWO}, None)
    assert again.built("build of a") is None
    assert (built := again.built("build of b")) is not None
    assert built.id == TWO


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'{"images": {"x": 1}}'])
async def test_a_memory_that_can_not_be_read_is_none(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "images.json").write_bytes(body)
    shelf = await opened(tmp_path / "images.json", FakeClock())
    assert shelf.images() == []
    await shelf.put(ONE, 1)
    assert [kept.id for kept in (await opened(tmp_path / "images.json", FakeClock())).images()] == [ONE]


async def test_closing_what_was_never_opened_forgets_nothing(tmp_path: Path) -> None:
    await (await opened(tmp_path / "images.json", FakeClock())).put(ONE, 1)
    await Shelf(tmp_path / "images.json", FakeClock()).save()
    assert (await opened(tmp_path / "images.json", FakeClock())).image(ONE) is not None


async def test_a_full_disk_costs_the_memory_and_not_the_job(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    shelf = await opened(tmp_path / "file" / "images.json", FakeClock())
    await shelf.put(ONE, 1)
    assert shelf.image(ONE) is not None


async def test_names_are_bounded_and_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MAX_NAMES", 2)
    shelf = await opened(None, FakeClock())
    for name in "abac":
        await shelf.put(ONE, 1, name=name)
    assert list(shelf.names()) == ["a", "c"]


async def test_what_was_expected_is_left_over_until_it_came_or_was_given_up(tmp_path: Path) -> None:
    file, clock = tmp_path / "images.json", FakeClock()
    shelf = await opened(file, clock)
    for handle in ("a@1", "b@1", "c@1"):
        await shelf.expect(handle)
    await shelf.put(ONE, 1, handle="a@1")
    again = await opened(file, clock)
    assert again.left_over() == ("b@1", "c@1")
    await again.give_up("b@1")
    await again.put(TWO, 1, handle="c@1")
    assert again.left_over() == ()

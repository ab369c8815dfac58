"""Images on the real engine: pulled by digest from a real registry, kept from strangers, gone when room is short."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import docker
import pytest

from market.errors import ImageNotFound, ImageRefused, RateLimited, Unavailable
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.images import TAG_LASTS, Images
from node.adapters.docker_engine.pulls import Pulls
from node.adapters.docker_engine.tidying import RESTS, Tidying
from node.adapters.images.budgets import LOOKS, WINDOW
from node.adapters.images.limits import ImageLimits
from node.adapters.images.references import parse_reference
from node.adapters.images.registry import Registries
from node.adapters.images.shelf import Shelf
from node.ports import PullProgress
from tests.fakes import FakeClock
from tests.node.adapters.images.doubles import Double, a_config, a_double, a_layer, a_manifest, described
from tests.node.adapters.images.test_archives import an_archive
from tests.node.adapters.registries import Registry, a_registry

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


@pytest.fixture(scope="module")
def registry(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with a_registry(tmp_path_factory.mktemp("registry") / "r") as registry:
        yield registry


@pytest.fixture
def double(engine: None) -> Iterator[Double]:
    with a_double() as double:
        yield double


@pytest.fixture
def client(engine: None) -> Iterator[Any]:
    """The engine, which has nothing of the test's registries and archives at the end."""
    client: Any = docker.APIClient(version="auto")
    with closing(client):
        yield client
        listed = client.images(all=True)
        names = [name for item in listed for key in ("RepoTags", "RepoDigests") for name in item.get(key) or ()]
        assert [name for name in names if name.startswith(tuple(HOSTS))] == []
        assert LOADED & {item["Id"] for item in listed} == set()


HOSTS: set[str] = set()
"""Registries of tests; other processes may use the engine at the same time."""
LOADED: set[str] = set()
"""Ids of images that a test loaded under no name."""


class Shop:
    """The images of a node of its own, with a clock that stands still; what it brought goes at the end."""

    def __init__(self, client: Any, folder: Path, **limits: Any) -> None:
        HOSTS.update(f"{registry}/" for registry in limits["registries"])
        self.client = client
        self.clock = FakeClock()
        self.told: list[PullProgress] = []
        self.folder = folder
        self.limits = ImageLimits(**({"keep_free": 0} | limits))
        self.engine = Engine()
        self.images = self.another()

    def another(self, **limits: Any) -> Images:
        """The same node after a restart, perhaps with other limits."""
        return Images(
            self.engine,
            ImageLimits(**({name: getattr(self.limits, name) for name in ImageLimits.__struct_fields__} | limits)),
            patience=30.0,
            shelf=self.folder / "images.json",
            own=("busybox:latest",),
            clock=self.clock,
            progress=self.told.append,
        )

    async def shelf(self) -> Shelf:
        shelf = Shelf(self.folder / "images.json", self.clock)
        await shelf.open()
        return shelf

    async def close(self) -> None:
        self.clock.advance(RESTS + 1)
        shelf = await self.shelf()
        await Tidying(self.engine, shelf, self.clock, lambda: 0, ()).make_room(1)
        self.engine.close()


@pytest.fixture
async def shop(client: Any, registry: Registry, tmp_path: Path, anyio_backend: str) -> Any:
    shop = Shop(client, tmp_path, registries=(registry.host,))
    yield shop
    await shop.close()


def here(client: Any, id: str) -> bool:
    return any(item["Id"] == id for item in client.images(all=True))


# --- pulls ---------------------------------------------------------------------------------------------------------


async def test_an_image_is_pulled_by_its_digest_with_its_progress_in_bytes(shop: Shop, registry: Registry) -> None:
    reference = registry.push("team/a:1", 100_000)
    image = await shop.images.ensure(reference)
    (digest,) = shop.client.inspect_image(image.id)["RepoDigests"]
    assert digest.startswith(f"{registry.host}/team/a@sha256:")
    assert shop.client.inspect_image(image.id)["RepoTags"] == []
    assert shop.told[-1].reference == reference
    assert 0 < shop.told[-1].done == shop.told[-1].total
    assert shop.images.progress(reference) is None
    assert await shop.images.references() == (reference, "busybox:latest")


async def test_what_is_here_costs_nothing_until_its_tag_is_old_and_then_the_new_one_comes(
    shop: Shop, registry: Registry
) -> None:
    reference = registry.push("team/b:1")
    first = await shop.images.ensure(reference)
    registry.push("team/b:1")
    assert (await shop.images.ensure(reference)).id == first.id
    assert (await shop.another().ensure(reference)).id == first.id
    shop.clock.advance(TAG_LASTS)
    assert (await shop.images.ensure(reference)).id != first.id
    assert (await shop.images.ensure(first.id)).id == first.id


async def test_many_who_want_the_same_image_share_one_pull(shop: Shop, registry: Registry) -> None:
    reference = registry.push("team/c:1", 200_000)
    found = await asyncio.gather(*(shop.images.ensure(reference) for _ in range(8)))
    assert len({image.id for image in found}) == 1
    assert len([told for told in shop.told if told.done == told.total]) == 1


async def test_a_tag_that_was_resolved_serves_on_when_its_registry_is_away(
    client: Any, tmp_path: Path, double: Double
) -> None:
    layer = a_layer("away")
    double.image(layer, name="x/away")
    shop = Shop(client, tmp_path, registries=(double.host,))
    try:
        image = await shop.images.ensure(f"{double.host}/x/away:1")
        double.say("/v2/x/away/manifests/1", status=500)
        shop.clock.advance(TAG_LASTS)
        assert (await shop.images.ensure(f"{double.host}/x/away:1")).id == image.id
        double.say("/v2/x/away/manifests/1", status=404)
        shop.clock.advance(TAG_LASTS)
        with pytest.raises(ImageNotFound):
            await shop.images.ensure(f"{double.host}/x/away:1")
    finally:
        await shop.close()


@pytest.mark.parametrize(
    ("reference", "error"),
    [("team/none:1", ImageNotFound), ("team/none@sha256:" + "0" * 64, ImageNotFound), ("Team/x", ImageNotFound)],
)
async def test_an_image_that_the_registry_lacks_is_not_found(
    shop: Shop, registry: Registry, reference: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await shop.images.ensure(f"{registry.host}/{reference}")


async def test_too_large_an_image_is_refused_before_a_byte_is_pulled(shop: Shop, registry: Registry) -> None:
    reference = registry.push("team/large:1", 3_000_000)
    with pytest.raises(ImageRefused, match="at most 100 bytes") as refused:
        await shop.another(max_size=100).ensure(reference)
    assert refused.value.details["limit"] == "max_image_size"
    assert shop.told == []


async def test_a_layer_that_is_larger_than_its_manifest_says_ends_the_pull(
    client: Any, tmp_path: Path, double: Double
) -> None:
    layer = a_layer("big", bytes(4_000_000))
    config = a_config(layer)
    double.blob(config, "x/lie")
    over = threading.Event()
    double.answers[f"/v2/x/lie/blobs/{double_digest(layer)}"] = lambda handler: half(handler, layer, over)
    lie = [described(layer, "application/vnd.oci.image.layer.v1.tar", size=10)]
    double.manifest(a_manifest(config, layers=lie), "x/lie")
    shop = Shop(client, tmp_path, registries=(double.host,))
    try:
        with pytest.raises(ImageRefused) as refused:
            await shop.images.ensure(f"{double.host}/x/lie:1")
        assert refused.value.details["limit"] == "layer_size"
        assert await shop.images.references() == ("busybox:latest",)
    finally:
        over.set()
        await shop.close()


def half(handler: BaseHTTPRequestHandler, body: bytes, over: threading.Event) -> None:
    """Say how much there is, give half of it, and the rest when the test is over."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(body[: len(body) // 2])
        over.wait(100)
        handler.wfile.write(body[len(body) // 2 :])


async def test_a_layer_that_is_another_than_its_digest_is_not_taken(
    client: Any, tmp_path: Path, double: Double
) -> None:
    layer, other = a_layer("right"), a_layer("wrong")
    double.image(layer, name="x/other")
    path = next(path for path in double.answers if path.endswith(double_digest(layer)))
    double.say(path, other)
    shop = Shop(client, tmp_path, registries=(double.host,))
    try:
        with pytest.raises(ImageNotFound, match="can not be pulled"):
            await shop.images.ensure(f"{double.host}/x/other:1")
    finally:
        await shop.close()


def double_digest(body: bytes) -> str:
    return str(described(body, "")["digest"])


async def test_an_image_that_unpacks_to_too_much_does_not_stay(shop: Shop, registry: Registry) -> None:
    reference = registry.push("team/bomb:1", 8_000_000)
    with pytest.raises(ImageRefused, match="unpacks to too much"):
        await shop.another(max_size=100_000).ensure(reference)
    assert await shop.images.references() == ("busybox:latest",)


async def test_a_pull_ends_when_the_disk_runs_full_on_the_way(client: Any, tmp_path: Path, double: Double) -> None:
    layer, over = a_layer("full", bytes(4_000_000)), threading.Event()
    double.image(layer, name="x/full")
    double.answers[f"/v2/x/full/blobs/{double_digest(layer)}"] = lambda handler: half(handler, layer, over)
    reference, engine = parse_reference(f"{double.host}/x/full:1"), Engine()
    HOSTS.add(f"{double.host}/")
    try:
        resolved = await Registries(ImageLimits(registries=(double.host,)), 2.0).resolve(reference, "amd64")
        pulls = Pulls(engine, 8.0, lambda _: None, lambda: 4, 5)
        with pytest.raises(ImageRefused) as refused:
            await pulls.pull(str(reference), resolved)
        assert refused.value.details["limit"] == "keep_free"
    finally:
        over.set()
        engine.close()


async def test_an_image_for_which_there_is_no_room_is_not_pulled(shop: Shop, registry: Registry) -> None:
    kept = await shop.images.ensure(registry.push("team/kept:1"))
    shop.clock.advance(RESTS + 1)
    with pytest.raises(Unavailable, match="there is no room"):
        await shop.another(keep_free=2**60).ensure(registry.push("team/roomy:1"))
    assert here(shop.client, kept.id)


# --- budgets -------------------------------------------------------------------------------------------------------


async def test_a_requester_has_a_budget_for_pulls_and_others_have_theirs(shop: Shop, registry: Registry) -> None:
    first, second = registry.push("team/d:1", 50_000), registry.push("team/e:1", 50_000)
    images = shop.another(pull_budget=5_000)
    await images.ensure(first, "0xa")
    size = shop.told[-1].total
    images = shop.another(pull_budget=size * 3 // 2)
    await images.ensure(first, "0xa")
    third = registry.push("team/d:2", 50_000)
    await images.ensure(second, "0xa")
    with pytest.raises(RateLimited, match="budget of you is used up"):
        await images.ensure(third, "0xa")
    await images.ensure(second, "0xa")
    await images.ensure(third, "0xb")
    fourth = registry.push("team/d:3", 50_000)
    shop.clock.advance(WINDOW)
    await images.ensure(fourth, "0xa")


async def test_asking_for_what_does_not_exist_has_an_end_too(shop: Shop, registry: Registry) -> None:
    for _ in range(LOOKS):
        with pytest.raises(ImageNotFound):
            await shop.images.ensure(f"{registry.host}/none", "0xa")
    with pytest.raises(RateLimited):
        await shop.images.ensure(f"{registry.host}/none", "0xa")


# --- whose image it is ---------------------------------------------------------------------------------------------


async def test_an_image_of_the_operators_own_is_nobodys_unless_it_is_shared(shop: Shop, registry: Registry) -> None:
    private = f"{registry.host}/private/tool:1"
    shop.client.import_image_from_data(tar_of("secret"), repository=private[:-2], tag="1")
    id = shop.client.inspect_image(private)["Id"]
    try:
        for name in (private, id):
            with pytest.raises(ImageNotFound):
                await shop.images.ensure(name)
        assert private not in await shop.images.references()
        shared = shop.another(shared=(f"{registry.host}/private/*",))
        assert {(await shared.ensure(private)).id, (await shared.ensure(id)).id} == {id}
        assert private in await shared.references()
    finally:
        shop.client.remove_image(private)


async def test_what_a_registry_gives_to_everybody_is_used_where_it_is_here_and_never_removed(
    shop: Shop, registry: Registry
) -> None:
    reference = registry.push("team/f:1")
    shop.client.pull(reference)
    try:
        image = await shop.images.ensure(reference)
        assert shop.told == []
        shop.clock.advance(RESTS + 1)
        assert await Tidying(shop.engine, await shop.shelf(), shop.clock, lambda: 0, ()).make_room(1) == 0
        assert here(shop.client, image.id)
    finally:
        shop.client.remove_image(reference)


async def test_knowing_the_config_of_a_private_image_does_not_give_it(
    client: Any, tmp_path: Path, double: Double
) -> None:
    layer = a_layer("secret", b"of the operator")
    config = a_config(layer)
    (loaded,) = _load(client, an_archive(tmp_path / "private.tar", layer))
    assert loaded == double_digest(config)
    other = a_layer("else")
    for blob in (config, other):
        double.blob(blob, "x/thief")
    double.manifest(a_manifest(config, other), "x/thief")
    shop = Shop(client, tmp_path, registries=(double.host,))
    try:
        with pytest.raises(ImageRefused) as refused:
            await shop.images.ensure(f"{double.host}/x/thief:1")
        assert refused.value.details["limit"] == "shared_images"
    finally:
        await shop.close()
        client.remove_image(loaded)


def _load(client: Any, archive: Path) -> list[str]:
    with archive.open("rb") as source:
        said = list(client.load_image(source))
    ids = [item["stream"].split()[-1] for item in said if "stream" in item]
    LOADED.update(ids)
    return ids


def tar_of(name: str) -> bytes:
    return a_layer(name, name.encode())


# --- archives ------------------------------------------------------------------------------------------------------


async def test_an_archive_is_loaded_under_its_id_and_under_no_name(shop: Shop, tmp_path: Path) -> None:
    busybox = shop.client.inspect_image("busybox:latest")["Id"]
    archive = an_archive(tmp_path / "built.tar", a_layer("built", b"here"), tags=["busybox:latest"])
    image = await shop.images.load(archive)
    LOADED.add(image.id)
    assert shop.client.inspect_image("busybox:latest")["Id"] == busybox
    assert shop.client.inspect_image(image.id)["RepoTags"] == []
    assert (await shop.images.ensure(image.id)).id == image.id
    assert (await shop.images.load(archive)).id == image.id
    assert await shop.images.references() == ("busybox:latest",)


async def test_an_archive_is_an_image_of_those_who_brought_it(shop: Shop, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "built.tar", a_layer("private", b"of a"))
    image = await shop.images.load(archive, requester="0xa")
    LOADED.add(image.id)
    assert (await shop.images.ensure(image.id, "0xa")).id == image.id
    with pytest.raises(ImageNotFound):
        await shop.images.ensure(image.id, "0xb")
    await shop.images.load(archive, requester="0xb")
    for requester in ("0xa", "0xb"):
        assert (await shop.images.ensure(image.id, requester)).id == image.id
    with pytest.raises(ImageNotFound):
        await shop.images.ensure(image.id, "0xc")


async def test_what_the_engine_saves_it_takes_back(shop: Shop, registry: Registry, tmp_path: Path) -> None:
    reference = registry.push("team/saved:1", 1000)
    image = await shop.images.ensure(reference)
    archive = tmp_path / "saved.tar"
    archive.write_bytes(b"".join(shop.client.get_image(image.id)))
    await shop.close()
    assert not here(shop.client, image.id)
    shop.engine = Engine()
    LOADED.add(image.id)
    assert (await shop.another().load(archive)).id == image.id


async def test_an_archive_counts_towards_the_budget(shop: Shop, tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "built.tar", a_layer("built", bytes(5000)))
    with pytest.raises(RateLimited):
        await shop.another(pull_budget=1000).load(archive, requester="0xa")


# --- room ----------------------------------------------------------------------------------------------------------


async def test_the_longest_unused_go_first_and_only_as_many_as_must(shop: Shop, registry: Registry) -> None:
    names = [registry.push(f"room/{number}:1") for number in range(3)]
    ids = []
    for name in names:
        ids.append((await shop.images.ensure(name)).id)
        shop.clock.advance(RESTS)
    await shop.images.ensure(names[0])
    shop.clock.advance(RESTS + 1)
    await shop.images.close()
    shelf, free = await shop.shelf(), iter((0, 5, 10))
    assert await Tidying(shop.engine, shelf, shop.clock, lambda: next(free), ()).make_room(10) == 2
    assert [here(shop.client, id) for id in ids] == [True, False, False]
    assert set((await shop.shelf()).names()) == {names[0]}


async def test_what_is_used_was_used_just_now_or_is_the_nodes_own_stays(shop: Shop, registry: Registry) -> None:
    held, own, fresh = (registry.push(f"stay/{name}:1") for name in ("held", "own", "fresh"))
    ids = [(await shop.images.ensure(name)).id for name in (held, own)]
    shop.clock.advance(RESTS + 1)
    ids.append((await shop.images.ensure(fresh)).id)
    container = shop.client.create_container(ids[0], "x")["Id"]
    try:
        tidying = Tidying(shop.engine, await shop.shelf(), shop.clock, lambda: 0, {own})
        assert await tidying.make_room(1) == 0
        assert all(here(shop.client, id) for id in ids)
    finally:
        shop.client.remove_container(container)


async def test_images_of_others_are_never_touched(shop: Shop, registry: Registry) -> None:
    foreign = f"{registry.host}/foreign:1"
    shop.client.import_image_from_data(tar_of("foreign"), repository=foreign[:-2], tag="1")
    before = {item["Id"] for item in shop.client.images(all=True)}
    try:
        images = shop.another(keep_free=2**60)
        assert await images.tidy() == 0
        assert before <= {item["Id"] for item in shop.client.images(all=True)} | before
        assert here(shop.client, shop.client.inspect_image(foreign)["Id"])
        assert here(shop.client, shop.client.inspect_image("busybox:latest")["Id"])
    finally:
        shop.client.remove_image(foreign)


async def test_a_short_disk_is_tidied_and_a_long_one_is_not(shop: Shop, registry: Registry) -> None:
    image = await shop.images.ensure(registry.push("short/a:1"))
    shop.clock.advance(RESTS + 1)
    assert await shop.another(keep_free=1).tidy() == 0
    assert here(shop.client, image.id)
    assert await shop.another(keep_free=2**60).tidy() == 1
    assert not here(shop.client, image.id)


async def test_an_image_that_somebody_gave_a_name_since_keeps_it(shop: Shop, registry: Registry) -> None:
    image = await shop.images.ensure(registry.push("named/a:1"))
    shop.client.tag(image.id, f"{registry.host}/mine", "1")
    try:
        shop.clock.advance(RESTS + 1)
        assert await shop.another(keep_free=2**60).tidy() == 1
        assert shop.client.inspect_image(image.id)["RepoTags"] == [f"{registry.host}/mine:1"]
    finally:
        shop.client.remove_image(f"{registry.host}/mine:1")


async def test_what_a_dead_node_was_pulling_is_its_own_after_a_restart(shop: Shop, registry: Registry) -> None:
    reference = registry.push("dead/a:1")
    image = await shop.images.ensure(reference)
    (pinned,) = shop.client.inspect_image(image.id)["RepoDigests"]
    (shop.folder / "images.json").write_text(json.dumps({"coming": [pinned, f"{registry.host}/x@sha256:{'0' * 64}"]}))
    again = shop.another(keep_free=2**60)
    assert await again.tidy() == 0
    shop.clock.advance(RESTS + 1)
    assert await again.tidy() == 1
    assert not here(shop.client, image.id)

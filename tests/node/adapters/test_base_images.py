"""The base images: present, or built on this machine without any registry."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import docker
import pytest

from market.errors import ImageNotFound
from node.adapters.base_images import BASE_IMAGES, RECIPES, ensure_base_images
from tests.node.adapters.engines import a_node
from tests.node.adapters.registries import a_registry

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


async def test_what_is_there_is_left_alone(engine: None) -> None:
    assert await ensure_base_images() == dict.fromkeys(BASE_IMAGES, "present")


async def test_an_image_is_built_where_no_registry_has_it_and_again_when_its_recipe_changes(
    engine: None, tmp_path: Path
) -> None:
    recipes = tmp_path / "recipes"
    shutil.copytree(RECIPES, recipes)
    images = {f"127.0.0.1:9/neugrid-test:{a_node()}": "busybox"}
    client = docker.APIClient(version="auto")
    try:
        assert set((await ensure_base_images(recipes=recipes, images=images)).values()) == {"built"}
        assert set((await ensure_base_images(recipes=recipes, images=images)).values()) == {"present"}
        first = client.inspect_image(*images)["Id"]
        with (recipes / "busybox" / "rootfs.sh").open("a") as script:
            script.write("# changed\n")
        assert set((await ensure_base_images(recipes=recipes, images=images)).values()) == {"built"}
        with pytest.raises(docker.errors.ImageNotFound):
            client.inspect_image(first)
    finally:
        client.remove_image(*images)
        client.close()


async def test_an_image_that_a_registry_has_is_pulled_and_named(engine: None, tmp_path: Path) -> None:
    client = docker.APIClient(version="auto")
    with a_registry(tmp_path / "registry") as registry:
        name = registry.push("base/tool:3-slim")
        try:
            assert await ensure_base_images(images={name: "busybox"}) == {name: "pulled"}
            assert client.inspect_image(name)["RepoTags"] == [name]
        finally:
            client.remove_image(client.inspect_image(name)["Id"], force=True)
            client.close()


async def test_a_recipe_that_fails_says_why_and_makes_no_image(engine: None, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "rootfs.sh").write_text("echo half; echo no python here >&2; exit 1")
    with pytest.raises(ImageNotFound, match="no python here"):
        await ensure_base_images(recipes=tmp_path, images={"127.0.0.1:9/neugrid-test:broken": "broken"})


def test_a_recipe_writes_an_archive_that_belongs_to_root(tmp_path: Path) -> None:
    archive = tmp_path / "rootfs.tar"
    with archive.open("wb") as target:
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
        subprocess.run(["sh", str(RECIPES / "busybox" / "rootfs.sh")], stdout=target, env=environment, check=True)
    with tarfile.open(archive) as opened:
        members = {member.name: member for member in opened}
    assert {member.uid for member in members.values()} == {0}
    assert {"./bin/sh", "./bin/wc", "./bin/env", "./etc/passwd"} <= set(members)
    assert members["./tmp"].mode & 0o1777 == 0o1777
    assert [path.name for path in tmp_path.iterdir()] == ["rootfs.tar"]

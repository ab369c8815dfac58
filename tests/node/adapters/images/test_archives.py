"""Archives of images: read without trust, and written anew with nothing in them but config and layers."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from market.errors import ImageRefused
from node.adapters.images.archives import MAX_MEMBERS, read_plan, stream
from node.adapters.images.limits import ImageLimits
from tests.node.adapters.images.doubles import (
    INDEX,
    MANIFEST,
    a_config,
    a_layer,
    a_manifest,
    an_index,
    described,
    digest_of,
)

LIMITS = ImageLimits(max_size=1_000_000)
Members = list[tuple[str | tarfile.TarInfo, bytes]]


def a_tar(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, body in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            if member.isreg():
                member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return path


def saved(*layers: bytes, tags: "list[str] | None" = None, **config: Any) -> Members:
    """The members of an archive as `docker save` writes it."""
    body = a_config(*layers, **config)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "c.json", "RepoTags": tags, "Layers": names}]
    listed: Members = [("c.json", body), *zip(names, layers, strict=True)]
    return [*listed, ("manifest.json", json.dumps(manifest).encode())]


def an_archive(path: Path, *layers: bytes, tags: "list[str] | None" = None) -> Path:
    return a_tar(path, saved(*layers, tags=tags))


def a_layout(path: Path, *layers: bytes, packed: bool = False, outer: bool = False) -> Path:
    """An OCI layout in a tar."""
    config = a_config(*layers)
    blobs = [gzip.compress(layer) if packed else layer for layer in layers]
    manifest = a_manifest(config, *blobs)
    index = an_index((manifest, "linux/amd64"), (a_manifest(config), "linux/arm64"))
    top = {"manifests": [described(index, INDEX)] if outer else [described(manifest, MANIFEST)]}
    found = [(f"blobs/sha256/{digest_of(body)[7:]}", body) for body in (config, manifest, index, *blobs)]
    return a_tar(path, [("oci-layout", b"{}"), ("index.json", json.dumps(top).encode()), *found])


def refused(path: Path, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(ImageRefused) as raised:
        read_plan(path, limits, "amd64")
    return str(raised.value.details["limit"])


def rewritten(path: Path) -> dict[str, bytes]:
    plan = read_plan(path, LIMITS, "amd64")
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream(path, plan)))) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: source.read() for name, source in found.items() if source}


def test_an_archive_is_written_anew_without_its_names(tmp_path: Path) -> None:
    one, two = a_layer("one"), a_layer("two")
    archive = a_tar(
        tmp_path / "a.tar", [*saved(one, two, tags=["busybox:latest"]), ("repositories", b"{}"), ("../x", b"")]
    )
    found = rewritten(archive)
    assert set(found) == {"0.tar", "1.tar", "config.json", "manifest.json"}
    assert (found["0.tar"], found["1.tar"], found["config.json"]) == (one, two, a_config(one, two))
    assert json.loads(found["manifest.json"]) == [
        {"Config": "config.json", "RepoTags": None, "Layers": ["0.tar", "1.tar"]}
    ]
    assert read_plan(archive, LIMITS, "amd64").id == digest_of(a_config(one, two))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("outer", [False, True])
def test_an_oci_layout_is_an_archive_too(tmp_path: Path, packed: bool, outer: bool) -> None:
    found = rewritten(a_layout(tmp_path / "a.tar", a_layer("one"), a_layer("two"), packed=packed, outer=outer))
    assert set(found) == {"0.tar", "1.tar", "config.json", "manifest.json"}
    assert (gzip.decompress(found["1.tar"]) if packed else found["1.tar"]) == a_layer("two")


def test_a_layer_that_is_there_twice_may_be_a_link_to_the_first(tmp_path: Path) -> None:
    layer = a_layer()
    link = tarfile.TarInfo("1/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, "../0/layer.tar"
    members = [(link if name == "1/layer.tar" else name, body) for name, body in saved(layer, layer)]
    assert rewritten(a_tar(tmp_path / "a.tar", members))["1.tar"] == layer


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "../nowhere", "../1/layer.tar"])
def test_a_link_that_leads_anywhere_else_is_refused(tmp_path: Path, target: str) -> None:
    link = tarfile.TarInfo("1/layer.tar")
    link.type, link.linkname = tarfile.SYMTYPE, target
    members = [(link if name == "1/layer.tar" else name, body) for name, body in saved(a_layer(), a_layer())]
    assert refused(a_tar(tmp_path / "a.tar", members)) == "archive"


def test_a_layer_that_is_not_the_one_of_the_config_is_refused(tmp_path: Path) -> None:
    members = [(name, a_layer("else") if "layer" in str(name) else body) for name, body in saved(a_layer())]
    assert refused(a_tar(tmp_path / "a.tar", members)) == "digest"


def test_what_is_too_large_packed_or_unpacked_is_refused(tmp_path: Path) -> None:
    assert refused(an_archive(tmp_path / "a.tar", a_layer("big", bytes(1_100_000)))) == "max_image_size"
    bomb = a_layer("bomb", bytes(8_000_000))
    assert len(gzip.compress(bomb)) < 20_000
    assert refused(a_layout(tmp_path / "b.tar", bomb, packed=True)) == "max_image_size"


def test_too_many_layers_are_refused(tmp_path: Path) -> None:
    assert refused(an_archive(tmp_path / "a.tar", *[a_layer()] * 128), ImageLimits()) == "layers"
    assert len(read_plan(an_archive(tmp_path / "b.tar", *[a_layer()] * 127), ImageLimits(), "amd64").layers) == 127


def test_another_machines_image_is_refused(tmp_path: Path) -> None:
    assert refused(a_tar(tmp_path / "a.tar", saved(a_layer(), architecture="arm64"))) == "platform"


def test_two_images_or_none_are_refused(tmp_path: Path) -> None:
    for count in (0, 2):
        body = json.dumps([{"Config": "c.json", "Layers": []}] * count).encode()
        assert refused(a_tar(tmp_path / f"{count}.tar", [("c.json", a_config()), ("manifest.json", body)])) == "archive"


@pytest.mark.parametrize("body", [b"", b"not a tar", bytes(10_240), b"\x1f\x8b" + bytes(1000), bytes(range(256)) * 40])
def test_garbage_is_refused(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(body)
    assert refused(tmp_path / "a.tar") == "archive"


def test_an_archive_that_is_not_there_or_ends_early_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.tar") == "archive"
    whole = an_archive(tmp_path / "a.tar", a_layer("x", bytes(5000))).read_bytes()
    for size in range(600, len(whole) - 10_240, 997):
        (tmp_path / "b.tar").write_bytes(whole[:size])
        assert refused(tmp_path / "b.tar") in ("archive", "digest")


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 2**32
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + bytes(10_240))
    assert refused(tmp_path / "a.tar") == "archive"


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    members: Members = [(f"{number}", b"") for number in range(MAX_MEMBERS + 1)]
    assert refused(a_tar(tmp_path / "a.tar", members)) == "archive"


@pytest.mark.parametrize("name", ["manifest.json", "c.json"])
@pytest.mark.parametrize("body", [b"", b"[", b"[" * 100_000, b"{}", b"\xff", b" " * (4 * 2**20 + 1)])
def test_documents_that_make_no_sense_are_refused(tmp_path: Path, name: str, body: bytes) -> None:
    members = [(known, body if known == name else content) for known, content in saved(a_layer())]
    assert refused(a_tar(tmp_path / "a.tar", members)) in ("archive", "manifest", "platform")

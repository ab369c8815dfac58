"""Manifests, indexes and configs of images, read without trust: pure functions of bytes.

OCI image spec 1.1 (https://github.com/opencontainers/image-spec) and Docker's schema 2, which differ in names alone.
What decides is the media type of the answer; a document that could be read as two kinds is refused (CVE-2021-41190).
"""

import hashlib
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from node.adapters.images.limits import MAX_LAYERS, ImageLimits, refuse

OCI: Final = "application/vnd.oci.image"
DOCKER: Final = "application/vnd.docker"
INDEXES: Final = (f"{OCI}.index.v1+json", f"{DOCKER}.distribution.manifest.list.v2+json")
MANIFESTS: Final = (f"{OCI}.manifest.v1+json", f"{DOCKER}.distribution.manifest.v2+json")
CONFIGS: Final = (f"{OCI}.config.v1+json", f"{DOCKER}.container.image.v1+json")
LAYERS: Final = (
    f"{OCI}.layer.v1.tar",
    f"{OCI}.layer.v1.tar+gzip",
    f"{OCI}.layer.v1.tar+zstd",
    f"{DOCKER}.image.rootfs.diff.tar",
    f"{DOCKER}.image.rootfs.diff.tar.gzip",
)
FOREIGN: Final = (f"{OCI}.layer.nondistributable.", f"{DOCKER}.image.rootfs.foreign.")
MAX_DOCUMENT: Final = 4 * 2**20
"""Bytes of a manifest, an index or a config: what registries take at most."""

S = TypeVar("S", bound=Struct)
Sha256 = Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$(?!\n)")]
Short = Annotated[str, Meta(max_length=256)]


class Platform(Struct, frozen=True, kw_only=True):
    """An operating system and a processor, as Go calls them."""

    os: Short = ""
    architecture: Short = ""


class Descriptor(Struct, frozen=True, kw_only=True, rename="camel"):
    """A document or a layer by its content."""

    media_type: Short
    digest: Sha256
    size: Annotated[int, Meta(ge=0, le=2**50)]
    urls: tuple[str, ...] | None = None
    platform: Platform | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """An image of one platform: `config` says what it is, `layers` are its files, packed."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers, packed."""
        return sum(layer.size for layer in self.layers)


class Config(Struct, frozen=True, kw_only=True):
    """What an image says of itself: its platform, and the digests of its layers when they are unpacked."""

    platform: Platform
    unpacked: tuple[Sha256, ...]


class _Document(Struct, frozen=True, kw_only=True, rename="camel"):
    """Whatever a registry calls a manifest."""

    schema_version: int
    media_type: Short = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = None
    manifests: tuple[Descriptor, ...] | None = None


class _RootFs(Struct, frozen=True, kw_only=True):
    diff_ids: tuple[Sha256, ...] = ()


class _Config(Struct, frozen=True, kw_only=True):
    os: Short = ""
    architecture: Short = ""
    rootfs: _RootFs


def digest_of(body: bytes) -> str:
    """The content address of a document."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def read_manifest(image: str, body: bytes, media_type: str) -> Manifest | tuple[Descriptor, ...]:
    """A manifest, or the entries of an index; ImageRefused for bytes that are neither, or could be both."""
    if media_type not in (*MANIFESTS, *INDEXES):
        raise refuse(image, "media_type", "this is no image that is known here", "an image manifest", media_type)
    found = _decode(image, body, _Document)
    if found.schema_version != 2 or found.media_type not in ("", media_type):
        got = f"version {found.schema_version}, {found.media_type or media_type}"
        raise refuse(image, "media_type", "the manifest is not what the registry calls it", media_type, got)
    is_index = media_type in INDEXES
    if is_index and found.manifests is not None and found.config is None and found.layers is None:
        return found.manifests
    if not is_index and found.manifests is None and found.config is not None and found.layers is not None:
        return Manifest(config=found.config, layers=found.layers)
    raise refuse(image, "manifest", "the manifest is ambiguous", "either an index or layers", "both or neither")


def entry_for(image: str, entries: tuple[Descriptor, ...], architecture: str) -> Descriptor:
    """The entry of an index for Linux on `architecture`; ImageRefused with the platforms that there are."""
    wanted = Platform(os="linux", architecture=architecture)
    for entry in entries:
        if entry.platform == wanted and entry.media_type in MANIFESTS:
            return entry
    offered = sorted({_shown(entry.platform) for entry in entries if entry.platform})
    raise refuse(image, "platform", "it is made for other machines", _shown(wanted), ", ".join(offered) or "none")


def check_manifest(image: str, manifest: Manifest, limits: ImageLimits) -> None:
    """ImageRefused for what may not be pulled: too large, too many layers, foreign or unknown layers."""
    if manifest.config.media_type not in CONFIGS:
        got = manifest.config.media_type
        raise refuse(image, "media_type", "this is an artifact and no image", "the config of an image", got)
    if len(manifest.layers) > MAX_LAYERS:
        raise refuse(image, "layers", "it has too many layers", f"at most {MAX_LAYERS}", len(manifest.layers))
    for layer in manifest.layers:
        if layer.urls or layer.media_type.startswith(FOREIGN):
            raise refuse(image, "foreign_layers", "layers lie elsewhere", "layers of the registry", layer.media_type)
        if layer.media_type not in LAYERS:
            raise refuse(image, "media_type", "it has unknown layers", "tar, gzip or zstd", layer.media_type)
    check_size(image, manifest.size, limits)


def check_size(image: str, size: int, limits: ImageLimits) -> None:
    """ImageRefused when `size` bytes, packed, are more than one image may have."""
    if size > limits.max_size:
        raise refuse(image, "max_image_size", "it is too large", f"at most {limits.max_size} bytes", f"{size} bytes")


def read_config(image: str, body: bytes, layers: int, architecture: str) -> Config:
    """The config of an image of so many layers; ImageRefused when it is for another platform or does not fit."""
    found = _decode(image, body, _Config)
    config = Config(platform=Platform(os=found.os, architecture=found.architecture), unpacked=found.rootfs.diff_ids)
    wanted = Platform(os="linux", architecture=architecture)
    if config.platform != wanted:
        raise refuse(image, "platform", "it is made for other machines", _shown(wanted), _shown(config.platform))
    if len(config.unpacked) != layers:
        raise refuse(image, "manifest", "manifest and config differ", f"{layers} layers", len(config.unpacked))
    return config


def _shown(platform: Platform) -> str:
    return f"{platform.os or '?'}/{platform.architecture or '?'}"


def _decode(image: str, body: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(image, "manifest", "its description can not be read", "JSON of an image", error) from error

"""What a registry says about an image, before anything of it is pulled.

The registry HTTP API (https://github.com/opencontainers/distribution-spec): a manifest or an index of them, the config,
and an anonymous token where one is asked for. Every answer is checked against its digest.
"""

import asyncio
import fnmatch
import re
import ssl
from typing import Final

import httpx
import msgspec
from msgspec import Struct

from market.errors import ImageNotFound, RateLimited
from node.adapters.images.limits import ImageLimits, refuse
from node.adapters.images.manifests import (
    INDEXES,
    MANIFESTS,
    MAX_DOCUMENT,
    Descriptor,
    Manifest,
    check_manifest,
    digest_of,
    entry_for,
    read_config,
    read_manifest,
)
from node.adapters.images.references import HUB, Reference, is_loopback
from node.adapters.images.wire import Answer, RegistryAway, Wire

HUB_HOST: Final = "registry-1.docker.io"
ACCEPT: Final = ", ".join((*INDEXES, *MANIFESTS))
MAX_TOKEN: Final = 64 * 1024
WHOLE_LOOK: Final = 4
"""A whole look takes at most so many times the patience for one answer."""
_CHALLENGE: Final = re.compile(r'([a-z_]+)="([^"]{0,1024})"')


class Resolved(Struct, frozen=True, kw_only=True):
    """An image as its registry has it now: `pinned` names its content, `sizes` are its layers, packed, by digest."""

    pinned: str
    config: str
    sizes: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes to pull, packed."""
        return sum(self.sizes.values())


class Registries:
    """The registries that the operator admits; `patience` in seconds is how long one may be silent."""

    def __init__(self, limits: ImageLimits, patience: float) -> None:
        self._limits = limits
        self._patience = patience
        self._tls: ssl.SSLContext | None = None

    async def resolve(self, reference: Reference, architecture: str) -> Resolved:
        """What is behind the reference for Linux on `architecture`.

        Raises ImageNotFound, RegistryAway when nobody answers, ImageRefused for what is not admitted, RateLimited.
        """
        self.check(reference)
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        wire = Wire(
            str(reference),
            is_trusted=reference.registry in self._limits.registries,
            is_plain=is_loopback(reference.registry),
            patience=self._patience,
            tls=self._tls,
        )
        try:
            async with asyncio.timeout(self._patience * WHOLE_LOOK):
                return await _Look(wire, reference, architecture, self._limits).resolve()
        except TimeoutError:
            raise RegistryAway(f"the registry of {str(reference)!r} took too long", image=str(reference)) from None
        finally:
            await wire.close()

    def check(self, reference: Reference) -> None:
        """ImageRefused for a registry that is not listed; no pattern admits this machine."""
        registry, listed = reference.registry, self._limits.registries
        is_listed = any(fnmatch.fnmatchcase(registry, entry) for entry in listed)
        if registry not in listed and (not is_listed or is_loopback(registry)):
            expected = "one of " + ", ".join(listed[:16])
            raise refuse(reference.familiar, "registries", "its registry is not admitted", expected, registry)


class _Look:
    def __init__(self, wire: Wire, reference: Reference, architecture: str, limits: ImageLimits) -> None:
        self._wire = wire
        self._reference = reference
        self._image = reference.familiar
        self._architecture = architecture
        self._limits = limits
        self._token = ""
        scheme = "http" if is_loopback(reference.registry) else "https"
        host = HUB_HOST if reference.registry == HUB else reference.registry
        self._root = f"{scheme}://{host}/v2/{reference.repository}"

    async def resolve(self) -> Resolved:
        digest, manifest = await self._manifest(self._reference.digest or self._reference.tag)
        if not isinstance(manifest, Manifest):
            entry = entry_for(self._image, manifest, self._architecture)
            digest, manifest = await self._manifest(entry.digest)
        if not isinstance(manifest, Manifest):
            raise refuse(self._image, "manifest", "indexes lie in indexes", "a manifest", "an index")
        check_manifest(self._image, manifest, self._limits)
        config = await self._get(f"blobs/{manifest.config.digest}", "*/*", manifest.config.digest)
        read_config(self._image, config.body, len(manifest.layers), self._architecture)
        return Resolved(
            pinned=f"{self._reference.name}@{digest}",
            config=manifest.config.digest,
            sizes={layer.digest: layer.size for layer in manifest.layers},
        )

    async def _manifest(self, wanted: str) -> "tuple[str, Manifest | tuple[Descriptor, ...]]":
        expected = wanted if ":" in wanted else ""
        answer = await self._get(f"manifests/{wanted}", ACCEPT, expected)
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        return digest_of(answer.body), read_manifest(self._image, answer.body, media_type)

    async def _get(self, path: str, accept: str, expected: str) -> Answer:
        """The document, with a token when one is asked for; ImageRefused when it is not the one that was named."""
        url = f"{self._root}/{path}"
        answer = await self._wire.get(url, MAX_DOCUMENT, accept=accept, token=self._token)
        if answer.status == httpx.codes.UNAUTHORIZED and not self._token:
            self._token = await self._anonymous(answer.headers.get("www-authenticate", ""))
            answer = await self._wire.get(url, MAX_DOCUMENT, accept=accept, token=self._token)
        self._check_status(answer)
        named = answer.headers.get("docker-content-digest", "") if path.startswith("manifests/") else ""
        got = digest_of(answer.body)
        for digest in filter(None, (expected, named)):
            if digest != got:
                raise refuse(self._image, "digest", "its registry gave something else", digest, got)
        return answer

    def _check_status(self, answer: Answer) -> None:
        registry, status = self._reference.registry, answer.status
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise RateLimited(f"{registry} gives this machine no more images for now", image=self._image)
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
            raise ImageNotFound(f"there is no image {self._image!r} for everybody in {registry}", image=self._image)
        raise RegistryAway(f"{registry} could not give {self._image!r}: it answered {status}", image=self._image)

    async def _anonymous(self, challenge: str) -> str:
        """A token for nobody in particular (https://distribution.github.io/distribution/spec/auth/token)."""
        scheme, _, rest = challenge.partition(" ")
        fields = dict(_CHALLENGE.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise ImageNotFound(f"{self._reference.registry} shows {self._image!r} to nobody", image=self._image)
        wanted = {"scope": f"repository:{self._reference.repository}:pull"}
        if "service" in fields:
            wanted["service"] = fields["service"]
        realm = fields["realm"]
        answer = await self._wire.get(f"{realm}{'&' if '?' in realm else '?'}{httpx.QueryParams(wanted)}", MAX_TOKEN)
        self._check_status(answer)
        return _token(self._image, answer.body)


class _Token(Struct):
    token: str = ""
    access_token: str = ""


def _token(image: str, body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(image, "manifest", "its registry's token can not be read", "JSON", error) from error
    token = found.token or found.access_token
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise refuse(image, "manifest", "its registry's token can not be read", "a token", ascii(token[:80]))
    return token

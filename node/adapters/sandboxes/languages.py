"""The languages as data: `configs/languages.toml`, read strictly and once."""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from market.errors import ConfigError, NotFound
from node.adapters.docker_engine.profile import MIB
from node.adapters.image_bench import Recipe

LANGUAGES: Final = Path(__file__).parents[3] / "configs" / "languages.toml"
BUILDER: Final = "languages/rootfs.sh"
"""Beside the file: what makes an image of packages."""
MAX_FILE: Final = 256 * 1024
MAX_NAMES: Final = 64

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+#.-]{0,31}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
Reference = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._:/@-]{0,254}$")]
Package = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]{0,63}$")]
Word = Annotated[str, Meta(min_length=1, max_length=1024)]
Command = Annotated[tuple[Word, ...], Meta(max_length=64)]
Words = Annotated[tuple[Word, ...], Meta(max_length=16)]
Limit = Annotated[float, Meta(gt=0, le=60)]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one sandbox may use: seconds, bytes of each stream, MiB and processes."""

    run: Limit = 3.0
    compile: Limit = 10.0
    output: Annotated[int, Meta(ge=1024, le=MIB)] = 65_536
    memory: Annotated[int, Meta(ge=64, le=65_536)] = 256
    scratch: Annotated[int, Meta(ge=1, le=16_384)] = 64
    processes: Annotated[int, Meta(ge=8, le=4096)] = 64


class ImageRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image for code: built from `packages`, after which `finish` runs inside; without packages it is pulled."""

    reference: Reference
    packages: Annotated[tuple[Package, ...], Meta(max_length=128)] = ()
    finish: Annotated[str, Meta(max_length=16_384)] = ""


class Dialect(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one language is compiled and run; "{code}" in a command is the folder of the source."""

    image: Name
    file: FileName
    run: Annotated[Command, Meta(min_length=1)]
    version: Annotated[Command, Meta(min_length=1)]
    """Prints the version."""
    compile: Command = ()
    aliases: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    memory_words: Words = ()
    """What a run that failed says on stderr or stdout when it was out of memory, and the kernel did not end it."""
    run_seconds: Limit | None = None
    compile_seconds: Limit | None = None
    """Instead of the limits for all."""


class Languages(Struct, frozen=True, kw_only=True):
    """Everything the file says; `folder` is where it lies."""

    folder: Path
    limits: Limits
    images: dict[str, ImageRecipe]
    dialects: dict[str, Dialect]

    def named(self, word: str) -> str:
        """The language that has this name or alias, whatever its case; NotFound when none has."""
        wanted = word[:MAX_NAMES].lower()
        for name, dialect in self.dialects.items():
            if wanted == name or wanted in dialect.aliases:
                return name
        raise NotFound(f"there is no language {word[:MAX_NAMES]!r}", language=word[:MAX_NAMES])

    def words(self) -> dict[str, str]:
        """Every name of a language, its own among them, and the language that it means."""
        return {word: name for name, dialect in self.dialects.items() for word in (name, *dialect.aliases)}

    def reference(self, name: str) -> str:
        """The image that holds the language."""
        return self.images[self.dialects[name].image].reference

    def limits_of(self, name: str) -> Limits:
        """The limits for all, with the language's own in their place."""
        dialect = self.dialects[name]
        return structs.replace(
            self.limits,
            run=dialect.run_seconds or self.limits.run,
            compile=dialect.compile_seconds or self.limits.compile,
        )

    def recipes(self, names: tuple[str, ...] = ()) -> tuple[Recipe, ...]:
        """How the images of the languages `names` are had, each once; all images without names."""
        wanted = {self.dialects[self.named(name)].image for name in names} if names else set(self.images)
        builder = self.folder / BUILDER
        return tuple(_recipe(image, builder) for key, image in self.images.items() if key in wanted)


def load_languages(path: Path = LANGUAGES) -> Languages:
    """The languages in `path`; ConfigError names the file, the language and what is wrong."""
    raw = _tables(path)
    unknown = sorted(set(raw) - {"limits", "images", "languages"})
    if unknown:
        raise ConfigError(f"{path}: there is no table {unknown[0]!r}", file=str(path))
    limits = _read(path, "limits", raw.get("limits", {}), Limits)
    images = {name: _read(path, f"images.{name}", table, ImageRecipe) for name, table in _named(path, raw, "images")}
    dialects = {
        name: _read(path, f"languages.{name}", table, Dialect) for name, table in _named(path, raw, "languages")
    }
    _check(path, images, dialects)
    if limits.scratch * 2 > limits.memory:
        raise ConfigError(f"{path}: limits.scratch must be at most half of limits.memory", file=str(path))
    return Languages(folder=path.parent, limits=limits, images=images, dialects=dialects)


def _tables(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
        if len(text) > MAX_FILE:
            raise ConfigError(f"{path}: larger than {MAX_FILE} bytes", file=str(path))
        return tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", file=str(path)) from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ConfigError(f"{path}: no valid TOML: {error}", file=str(path)) from error


def _named(path: Path, raw: dict[str, Any], table: str) -> list[tuple[str, Any]]:
    found = raw.get(table)
    if not isinstance(found, dict) or not 0 < len(found) <= MAX_NAMES:
        raise ConfigError(f"{path}: [{table}.<name>] must be there, at most {MAX_NAMES} times", file=str(path))
    return [(_read(path, f"{table}.{name}", name, Name), content) for name, content in found.items()]


T = TypeVar("T")


def _read(path: Path, place: str, value: Any, kind: type[T] | Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {place}: {error}", file=str(path), key=place) from error


def _check(path: Path, images: dict[str, ImageRecipe], dialects: dict[str, Dialect]) -> None:
    """Every language has an image that is described, and no name means two languages."""
    seen: dict[str, str] = {}
    for name, dialect in dialects.items():
        if dialect.image not in images:
            raise ConfigError(f"{path}: languages.{name}: there is no image {dialect.image!r}", file=str(path))
        for word in (name, *dialect.aliases):
            if seen.setdefault(word, name) != name:
                raise ConfigError(f"{path}: {word!r} means both {seen[word]} and {name}", file=str(path))


def _recipe(image: ImageRecipe, builder: Path) -> Recipe:
    packages = " ".join(image.packages)
    script = _script(builder)
    content = b"\0".join((script, packages.encode(), image.finish.encode()))
    return Recipe(
        reference=image.reference,
        script=builder if image.packages else None,
        hash=hashlib.sha256(content).hexdigest(),
        variables={"PACKAGES": packages, "FINISH": image.finish},
        is_published=not image.packages,
    )


def _script(builder: Path) -> bytes:
    try:
        return builder.read_bytes()
    except OSError as error:
        raise ConfigError(f"{builder}: {error.strerror}", file=str(builder)) from error

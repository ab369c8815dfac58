"""Dockerfiles of strangers: read strictly, and written anew in a form that an engine can not read otherwise.

An engine fetches what FROM, COPY --from and ADD name, from its own network and out of its own store. So every image is
named by an id that was looked up before, and ADD takes files of the context alone. What the engine gets is our own
text: one line an instruction, no directives, no continuations; whatever could mean something else there is refused.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from node.adapters.builds.refusals import Refusal

MAX_SIZE: Final = 256 * 1024
MAX_INSTRUCTIONS: Final = 256
SCRATCH: Final = "scratch"
PLAIN: Final = (
    *("RUN", "CMD", "ENTRYPOINT", "SHELL", "ENV", "ARG", "USER", "WORKDIR", "VOLUME", "EXPOSE"),
    *("LABEL", "MAINTAINER", "STOPSIGNAL", "HEALTHCHECK"),
)
"""Instructions that touch nothing but the image and the container of the step."""
_WORD: Final = re.compile(r"[A-Za-z]+")
_STAGE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_FLAG: Final = re.compile(r"--([a-z]+)=([A-Za-z0-9_./:@-]+)")
_PLACE: Final = re.compile(r"[A-Za-z0-9_./*?@+~,=^%#\[\]() -]+")
"""Where ADD may take from: no colon and no variable, so no address, however it is put together."""
_VARIABLE: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}$]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")
_HERE: Final = re.compile(r"(^|[\s\"'\\])\d*<<-?[^<\s]")
"""What newer engines take for the beginning of a here-document, which would hide the lines after it."""
_BLANKS: Final = " \t\r\v\f"


class Instruction(Struct, frozen=True):
    """One instruction: its word in capitals, and the rest in one line."""

    word: str
    rest: str

    def __str__(self) -> str:
        return f"{self.word} {self.rest}"


class Step(Struct, frozen=True):
    """A line for the engine; `name` is the instruction as it was written, "" for one of ours."""

    name: str
    line: str


def read_dockerfile(body: bytes) -> tuple[Instruction, ...]:
    """The instructions in order; Refusal for what is too large, no text, or written for another escape character."""
    if len(body) > MAX_SIZE:
        raise Refusal(f"the Dockerfile is larger than {MAX_SIZE} bytes")
    try:
        text = body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Refusal("the Dockerfile is no text in UTF-8") from error
    if re.search(r"^\s*#\s*escape\s*=\s*[^\\\s]", text, re.IGNORECASE | re.MULTILINE):
        raise Refusal("the Dockerfile has another escape character than the backslash")
    found = tuple(_instruction(line) for line in _logical_lines(text))
    if not 0 < len(found) <= MAX_INSTRUCTIONS:
        raise Refusal(f"the Dockerfile has {len(found)} instructions, expected 1 to {MAX_INSTRUCTIONS}")
    return found


def images_in(instructions: tuple[Instruction, ...]) -> tuple[str, ...]:
    """The images that the instructions are built upon, each once; Refusal for what is not done here."""
    plan = _Plan({})
    plan.steps_of(instructions, "")
    return tuple(dict.fromkeys(plan.wanted))


def steps_of(instructions: tuple[Instruction, ...], ids: Mapping[str, str], labels: str) -> tuple[Step, ...]:
    """What the engine is to do, with images by their ids; every stage begins with our `labels` ("" for none)."""
    return tuple(_Plan(ids).steps_of(instructions, labels))


class _Plan:
    """Walks through the instructions; an image without id stands as it was written, and is noted in `wanted`."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        self.wanted: list[str] = []
        self._ids = ids
        self._stages: list[str] = []
        self._variables: dict[str, str] = {}

    def steps_of(self, instructions: tuple[Instruction, ...], labels: str) -> list[Step]:
        steps: list[Step] = []
        for instruction in instructions:
            steps.append(Step(str(instruction), self._line(instruction)))
            if instruction.word == "FROM" and labels:
                steps.append(Step("", f"LABEL {labels}"))
        if not self._stages:
            raise Refusal("the Dockerfile has no FROM")
        return steps

    def _line(self, instruction: Instruction) -> str:
        word, rest = instruction.word, instruction.rest
        if word == "FROM":
            return self._from(rest)
        if not self._stages:
            return self._argument(instruction)
        if word in ("COPY", "ADD"):
            return f"{word} {self._taken(word, rest)}"
        if word not in PLAIN:
            raise Refusal(f"the instruction {word[:40]} is not known here")
        if word == "WORKDIR" and re.match(r"[\"']?/+(proc|sys|dev)\b", rest):
            raise Refusal(f"the working folder {rest[:80]} is the kernel's")
        return str(instruction)

    def _from(self, rest: str) -> str:
        words = rest.split()
        words = words[1:] if words[0].startswith("--platform=") else words
        is_named = len(words) == 3 and words[1].upper() == "AS"
        if not words or not (len(words) == 1 or is_named):
            raise Refusal(f"FROM takes an image, and a name after AS: {rest[:80]!r}")
        image = self._image(_expanded(words[0], self._variables))
        name = words[2].lower() if is_named else ""
        if name and not _STAGE.fullmatch(name):
            raise Refusal(f"{name[:80]!r} is no name of a stage")
        self._stages.append(name)
        return f"FROM {image} AS {name}" if name else f"FROM {image}"

    def _argument(self, instruction: Instruction) -> str:
        """Before the first FROM stand variables for it alone."""
        if instruction.word != "ARG":
            raise Refusal(f"{instruction.word[:40]} stands before the first FROM")
        name, _, value = instruction.rest.partition("=")
        self._variables[name.strip()] = _expanded(value.strip().strip("\"'"), self._variables)
        return str(instruction)

    def _taken(self, word: str, rest: str) -> str:
        """The rest of COPY or ADD, with its image by id."""
        flags: list[str] = []
        while rest.startswith("--"):
            flag, _, rest = rest.partition(" ")
            rest = rest.lstrip(_BLANKS)
            flags.append(self._flag(word, flag))
        if word == "ADD":
            _check_places(rest)
        return " ".join([*flags, rest])

    def _flag(self, word: str, flag: str) -> str:
        match = _FLAG.fullmatch(flag)
        if match is None or match[1] not in (("from", "chown") if word == "COPY" else ("chown",)):
            raise Refusal(f"{word} {flag[:80]}: this flag is not known here")
        if match[1] != "from":
            return flag
        known = [*filter(None, self._stages), *map(str, range(len(self._stages)))]
        return flag if match[2].lower() in known else f"--from={self._image(match[2])}"

    def _image(self, name: str) -> str:
        if name in self._stages or name.lower() in filter(None, self._stages):
            return name.lower()
        if name == SCRATCH:
            return name
        self.wanted.append(name)
        return self._ids.get(name, name)


def _logical_lines(text: str) -> list[str]:
    """Lines with their continuations, without comments and empty lines, as engines join them."""
    found: list[str] = []
    parts: list[str] = []
    for raw in text.split("\n"):
        line = raw.strip(_BLANKS) if not parts else raw.rstrip(_BLANKS)
        if not line.strip(_BLANKS) or line.lstrip(_BLANKS).startswith("#"):
            continue
        is_open = line.endswith("\\")
        parts.append(line[:-1] if is_open else line)
        if not is_open:
            found.append("".join(parts))
            parts = []
    return [*found, "".join(parts)] if parts else found


def _instruction(line: str) -> Instruction:
    words = line.strip(_BLANKS).split(maxsplit=1)
    word, rest = words[0] if words else "", words[1].strip(_BLANKS) if len(words) > 1 else ""
    if not _WORD.fullmatch(word) or not rest:
        raise Refusal(f"this is no instruction of a Dockerfile: {line[:80]!r}")
    if rest.endswith("\\") or not all(char.isprintable() or char == "\t" for char in rest):
        raise Refusal(f"{word.upper()} holds characters that are not taken here: {rest[:80]!r}")
    if word.upper() in ("RUN", "COPY", "ADD") and _HERE.search(rest):
        raise Refusal(f"here-documents are not taken here: {word.upper()} {rest[:80]}")
    return Instruction(word.upper(), rest)


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """The text with ${NAME}, ${NAME:-default} and $NAME replaced; an unknown variable is empty, as for engines."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[3]) or match[2] or "", text)


def _check_places(rest: str) -> None:
    """All but the last word of ADD must be files of the context."""
    try:
        words = json.loads(rest) if rest.startswith("[") else rest.split()
    except ValueError:
        words = rest.split()
    if not isinstance(words, list) or not all(isinstance(word, str) and _PLACE.fullmatch(word) for word in words[:-1]):
        raise Refusal(f"ADD takes files of the repository alone; fetch others in a RUN step: {rest[:80]!r}")

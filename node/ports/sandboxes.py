"""Code in fresh sandboxes: what is asked, and what came of it."""

from typing import Protocol

from msgspec import Struct


class Language(Struct, frozen=True, kw_only=True):
    """A language that code can be run in, as `configs/languages.toml` describes it."""

    name: str
    version: str = ""
    aliases: tuple[str, ...] = ()
    is_compiled: bool = False


class CodeSpec(Struct, frozen=True, kw_only=True):
    """Code to run in a fresh sandbox: compiled at most once, run once for each of `inputs` (standard input)."""

    id: str
    language: str
    code: str
    inputs: tuple[str, ...] = ("",)


class CodeRun(Struct, frozen=True, kw_only=True):
    """One run. `error` is "", "TLE", "MLE", "CompilationError", "RuntimeError", "SandboxError" or "InternalError"."""

    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    milliseconds: int = 0
    error: str = ""
    message: str = ""


class CodeResult(Struct, frozen=True, kw_only=True):
    """What came of the code: one run for each input; a compile that failed is the only run.

    `waited` is how long it waited for a sandbox, `compiling` how long the compiler took, in ms.
    """

    runs: tuple[CodeRun, ...]
    waited: int = 0
    compiling: int = 0


class Sandboxes(Protocol):
    """Fresh sandboxes for code, one for every call, kept warm ahead of need."""

    async def languages(self) -> tuple[Language, ...]:
        """The languages whose image is here."""
        ...

    async def run(self, spec: CodeSpec) -> CodeResult:
        """Run code; NotFound for an unknown language, Unavailable when no sandbox can be had in time."""
        ...

    async def close(self) -> None:
        """Remove what waits unused."""
        ...

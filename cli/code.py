"""`neugrid run` and `neugrid languages`: code in a fresh sandbox of some provider."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from cli.exits import JOB_FAILED
from cli.remote import LOCAL, Remote, connected, print_json, print_table
from market.errors import InvalidParameters

WITHIN: Final = 300.0
"""Seconds after which a run has ended, however."""
ENDINGS: Final = {
    ".py": "python",
    ".js": "javascript",
    ".cpp": "cpp",
    ".cc": "cpp",
    ".java": "java",
    ".sh": "bash",
    ".rb": "ruby",
    ".pl": "perl",
    ".lua": "lua",
}


def run(
    file: Path,
    /,
    *inputs: Path,
    language: Annotated[str, Parameter(help="By the file's ending where it is not given.")] = "",
    remote: Remote = LOCAL,
) -> int:
    """Run a file of code, once for each input file: neugrid run hello.py, neugrid run sum.cpp one.txt two.txt."""
    texts = tuple(_text(path) for path in inputs) or ("" if sys.stdin.isatty() else sys.stdin.read(),)
    with connected(remote) as client:
        result = client.run_code(_text(file), language or _language_of(file), texts, WITHIN)
    if remote.json:
        print_json(result)
    else:
        _show(result)
    return 0 if result["status"] == "success" else JOB_FAILED


def languages(*, remote: Remote = LOCAL) -> None:
    """The languages that code can be run in now."""
    with connected(remote) as client:
        offered = client.languages()
    if remote.json:
        print_json(offered)
        return
    print_table(("language", "providers"), [(item["name"], item["providers"]) for item in offered], "none is offered")


def _show(result: dict[str, Any]) -> None:
    for run in result["runs"]:
        sys.stdout.write(run["stdout"])
        sys.stderr.write(run["stderr"])
        if run["errorType"]:
            sys.stderr.write(f"neugrid: {run['errorType']}: {run['errorMessage']}\n")
    if result["status"] != "success" and not result["runs"]:
        sys.stderr.write(f"neugrid: {result['sandboxErrorType']}: {result['sandboxErrorMessage']}\n")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise InvalidParameters(f"{path} is no text in UTF-8", field="file", value=str(path)) from error


def _language_of(path: Path) -> str:
    language = ENDINGS.get(path.suffix)
    if language is None:
        expected = f"one of {', '.join(ENDINGS)}, or --language"
        raise InvalidParameters(f"{path}: the ending must be {expected}", field="file", expected=expected)
    return language

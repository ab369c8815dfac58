"""The TypeScript SDK in a folder of its own, where its locked packages are installed and it is compiled."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path("sdk")
MADE = ("node_modules", "build", "dist", "schema.ts", "python")
"""What the copy makes for itself, or does not need."""
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
SLOW = pytest.mark.timeout(900)
"""The first test that needs the package waits for npm and its compiler."""
STRICT = ("--strict", "--module", "NodeNext", "--target", "ES2022", "--types", "node", "--skipLibCheck")


class Built:
    """The compiled package; what fails here fails the test with all that was said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, **environment: str) -> str:
        """What the command prints."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PATH": f"{self.folder}/node_modules/.bin:{os.environ['PATH']}", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def printed_by(self, code: str) -> str:
        """What a program prints that uses the package by its name, compiled under the strictest rules."""
        (self.folder / "example.mts").write_text(code)
        self.run("tsc", *STRICT, "example.mts")
        return self.run("node", "example.mjs")

    def manifest(self, name: str) -> str:
        """One of the package's JSON files, as it stands."""
        return (self.folder / name).read_text()


def build(folder: Path) -> Built:
    """Install and compile; skips where there is no Node.js or no registry."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not installed")
    shutil.copytree(SOURCE, folder / "sdk", ignore=shutil.ignore_patterns(*MADE))
    built = Built(folder / "sdk/typescript")
    done = subprocess.run(["npm", "ci"], cwd=built.folder, capture_output=True, text=True)
    if any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("the npm registry does not answer")
    assert done.returncode == 0, done.stderr
    for script in ("generate", "check", "build"):
        built.run("npm", "run", "--silent", script)
    return built


def versions(manifest: str) -> list[str]:
    """Of all packages that a manifest asks for."""
    found = json.loads(manifest)
    return [*found.get("dependencies", {}).values(), *found.get("devDependencies", {}).values()]

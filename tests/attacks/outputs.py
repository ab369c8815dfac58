"""What a workload may put into its outputs so that whoever takes them out is led astray."""

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from market.errors import OutputRefused
from tests.attacks.attack import PRELUDE
from tests.attacks.scenes import Scene
from tests.attacks.stages import Workloads

REFUSED: Final[dict[str, tuple[str, str]]] = {
    "output-link": ("os.symlink('/etc/shadow', '/output/x')", "x"),
    "output-link-to-the-root": ("os.symlink('/', '/output/d')", "d/etc/shadow"),
    "output-link-up": ("os.symlink('../' * 20 + 'etc/shadow', '/output/x')", "x"),
    "output-hard-link": ("os.mkdir('/output/d'); open('/output/d/a', 'w').write('a'); os.link('/output/d/a', '/output/d/b')", "d"),
    "output-fifo": ("os.mkfifo('/output/x')", "x"),
    "output-path-up": ("open('/output/x', 'w').write('x')", "../etc/shadow"),
    "output-path-absolute": ("open('/output/x', 'w').write('x')", "/etc/shadow"),
    "output-with-a-nul": ("open('/output/x', 'w').write('x')", "x\0y"),
    "output-too-large": ("open('/output/x', 'wb').write(bytes(3 * 2**20))", "x"),
    "output-sparse": ("os.truncate(os.open('/output/x', os.O_CREAT | os.O_RDWR), 2**30)", "x"),
    "output-of-many-files": ("os.mkdir('/output/d')\ntry:\n  for n in range(5000): open(f'/output/d/{n}', 'w')\nexcept OSError: pass", "d"),
    "output-link-in-a-folder": ("os.mkdir('/output/d'); os.symlink('/proc/1/root', '/output/d/e')", "d"),
    "output-folder-that-is-a-link": ("os.mkdir('/output/r'); os.symlink('/etc', '/output/r/e')", "r/e/passwd"),
}  # fmt: skip
TAKEN: Final[dict[str, tuple[str, str]]] = {
    "output-odd-names": ("os.mkdir('/output/d'); [open('/output/d/' + n, 'w').write(n) for n in ('-rf', '$(id)', 'a\\nb', '..x')]", "d"),
    "output-socket": ("os.mkdir('/output/d'); socket.socket(socket.AF_UNIX).bind('/output/d/x')", "d"),
    "output-archive-bomb": ("import zlib\nopen('/output/x', 'wb').write(zlib.compress(bytes(50 * 2**20), 9))", "x"),
    "output-set-user-id": ("open('/output/x', 'w').write('#!/bin/sh'); os.chmod('/output/x', 0o6777)", "x"),
    "output-of-nobody": ("open('/output/x', 'w').write('x'); os.chmod('/output/x', 0)", "x"),
}  # fmt: skip
LIMIT: Final = 2 * 2**20


def _scene(id: str, program: str, wanted: str, is_refused: bool) -> Scene:
    async def play(stage: Workloads) -> list[str]:
        spec = stage.spec("python", "-c", f"{PRELUDE}\n{program}", has_outputs=True)
        await stage.runtime.start(spec)
        try:
            assert (await stage.runtime.wait(spec.name)).reason == "exited"
            with tempfile.TemporaryDirectory() as folder:
                return await _taken(stage, spec.name, wanted, Path(folder) / "store", is_refused)
        finally:
            await stage.runtime.remove(spec.name)

    return Scene(id=id, group="outputs", play=play, tiers=("batch",))


async def _taken(stage: Workloads, name: str, wanted: str, store: Path, is_refused: bool) -> list[str]:
    try:
        await stage.runtime.outputs(name, [wanted], store, LIMIT)
        was_refused = False
    except OutputRefused:
        was_refused = True
    assert was_refused is is_refused, "refused" if was_refused else "taken"
    return _odd(store)


def _odd(store: Path) -> list[str]:
    """Files in the store that are not what their names say, or more than that."""
    found = []
    for path in store.iterdir() if store.exists() else ():
        is_plain = path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1
        is_safe = is_plain and path.stat().st_mode & 0o7777 == 0o600 and path.stat().st_uid == 0
        if not is_safe or hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            found.append(f"stored {path.name} with mode {path.lstat().st_mode:o}")
    return found


OUTPUTS: Final = (
    *(_scene(id, program, wanted, True) for id, (program, wanted) in REFUSED.items()),
    *(_scene(id, program, wanted, False) for id, (program, wanted) in TAKEN.items()),
)

"""Real sandboxes: every language, every way to end, freshness, the pool, and what is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from market.errors import InvalidParameters, NotFound, Unavailable
from node.adapters.clock import SystemClock
from node.adapters.runtime import DockerRuntime, RuntimeSettings
from node.adapters.sandboxes.docker import MAX_CODE, DockerSandboxes, ensure_language_images
from node.adapters.sandboxes.settings import IDLE_COST, SandboxSettings
from tests.node.adapters.engines import a_node
from tests.node.adapters.sandboxes.code import ECHO, python, result, run, some_code
from tests.node.adapters.sandboxes.conftest import left_of

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


async def test_images_that_are_there_are_left_alone(images: None) -> None:
    assert await ensure_language_images(("js",)) == {"neugrid-code-scripts:latest": "present"}
    with pytest.raises(NotFound, match="cobol"):
        await ensure_language_images(("cobol",))


async def test_every_language_is_offered_with_its_version(sandboxes: DockerSandboxes) -> None:
    offered = {language.name: language for language in await sandboxes.languages()}
    assert set(offered) == set(ECHO)
    assert all(language.version for language in offered.values())
    assert offered["python"].version.startswith("3.")
    assert {name for name, language in offered.items() if language.is_compiled} == {"cpp", "java"}


@pytest.mark.parametrize("language", ECHO)
async def test_every_language_reads_its_input_and_answers(sandboxes: DockerSandboxes, language: str) -> None:
    found = await result(sandboxes, language, ECHO[language], "wörld")
    (only,) = found.runs
    assert (only.stdout.strip(), only.error, only.exit_code) == ("hello wörld", "", 0)
    assert (found.compiling > 0) == (language in ("cpp", "java"))
    assert only.milliseconds > 0


async def test_an_alias_means_its_language(sandboxes: DockerSandboxes) -> None:
    assert (await run(sandboxes, "Py", "print(1)")).stdout == "1\n"


async def test_an_unknown_language_is_not_found(sandboxes: DockerSandboxes) -> None:
    with pytest.raises(NotFound, match="cobol"):
        await run(sandboxes, "cobol", "DISPLAY 'HELLO'.")


async def test_too_much_code_and_no_inputs_are_refused(sandboxes: DockerSandboxes) -> None:
    with pytest.raises(InvalidParameters):
        await python(sandboxes, "#" * (MAX_CODE + 1))
    with pytest.raises(InvalidParameters):
        await sandboxes.run(some_code("python", "", *["x"] * 101))
    with pytest.raises(InvalidParameters, match="Unicode"):
        await python(sandboxes, "print('\ud800')")


async def test_a_megabyte_of_code_and_of_input_arrives(sandboxes: DockerSandboxes) -> None:
    code = "import sys; print(len(sys.stdin.read()))\n#".ljust(MAX_CODE, "x")
    assert (await python(sandboxes, code, "y" * 2**20)).stdout == f"{2**20}\n"


@pytest.mark.parametrize(
    ("language", "code"),
    [("cpp", "int main() { return missing; }"), ("java", "public class Main { int x = missing; }")],
)
async def test_what_does_not_compile_says_what_the_compiler_said(
    sandboxes: DockerSandboxes, language: str, code: str
) -> None:
    found = await result(sandboxes, language, code, "a", "b")
    (only,) = found.runs
    assert (only.error, only.exit_code) == ("CompilationError", 1)
    assert "missing" in only.stderr
    assert found.compiling > 0


@pytest.mark.parametrize(
    ("code", "exit_code", "word"),
    [
        ("raise ValueError('no')", 1, "code 1"),
        ("import sys; sys.exit(7)", 7, "code 7"),
        ("import os; os.abort()", 134, "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "SIGKILL"),
    ],
)
async def test_a_program_that_fails_is_a_runtime_error(
    sandboxes: DockerSandboxes, code: str, exit_code: int, word: str
) -> None:
    only = await python(sandboxes, code)
    assert (only.error, only.exit_code) == ("RuntimeError", exit_code)
    assert word in only.message


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import os, time; os.close(0); os.close(1); os.close(2); time.sleep(60)",
        "import signal, time\nfor n in {*range(1, 32)} - {9, 19}: signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)",
    ],
)
async def test_a_program_without_end_is_out_of_time(sandboxes: DockerSandboxes, code: str) -> None:
    only = await python(sandboxes, code)
    assert (only.error, only.exit_code) == ("TLE", 137)
    assert 2900 < only.milliseconds < 9000, "a compilation has ten seconds, a run has three"


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "x = bytearray(10**9)"),
        ("python", "x = bytearray(10**15)"),
        ("python", "import os\nif os.fork() == 0:\n  x = bytearray(10**9)\nos.wait()\nprint('fine')"),
        ("bash", "head -c 1000000000 /dev/zero | tail; exit 0"),
        ("javascript", "const all = []; for (;;) all.push(new Array(100000).fill(1.5))"),
        ("cpp", "#include <bits/stdc++.h>\nint main() { std::vector<int> v; for (;;) v.push_back(1); }"),
        ("java", "public class Main { public static void main(String[] a) { long[] x = new long[200_000_000]; } }"),
        ("ruby", "a = []\nloop { a << 'x' * 1_000_000 }"),
    ],
)
async def test_a_memory_bomb_is_out_of_memory_whoever_dies_of_it(
    sandboxes: DockerSandboxes, language: str, code: str
) -> None:
    only = await run(sandboxes, language, code)
    assert only.error == "MLE", only


async def test_a_deep_java_recursion_is_no_memory_error(sandboxes: DockerSandboxes) -> None:
    deep = "static int f(int n) { return f(n + 1) + 1; }"
    only = await run(
        sandboxes, "java", f"public class Main {{ {deep} public static void main(String[] a) {{ f(0); }} }}"
    )
    assert only.error == "RuntimeError"
    assert "StackOverflowError" in only.stderr


async def test_several_inputs_compile_once_and_share_nothing(sandboxes: DockerSandboxes) -> None:
    code = """
import os, pathlib, sys, time
places = ["here", "/tmp/there", "/dev/shm/everywhere"]
others = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) not in (1, os.getpid())]
print(sys.stdin.read(), [path for path in places if os.path.exists(path)], os.listdir(), others)
for path in places:
    pathlib.Path(path).mkdir()
    (pathlib.Path(path) / "x").write_text("kept?")
    os.chmod(path, 0)
if os.fork() == 0:
    os.setsid()
    time.sleep(60)
"""
    found = await result(sandboxes, "python", code, "1", "2", "3")
    assert [one.stdout for one in found.runs] == [f"{number} [] [] []\n" for number in (1, 2, 3)]


async def test_each_input_has_its_own_verdict(sandboxes: DockerSandboxes) -> None:
    code = "x = input()\nif x == 'big': y = bytearray(10**9)\nprint(1 // int(x))"
    found = await result(sandboxes, "python", code, "1", "0", "big", "2")
    assert [one.error for one in found.runs] == ["", "RuntimeError", "MLE", ""]


async def test_every_call_has_a_sandbox_of_its_own(sandboxes: DockerSandboxes) -> None:
    code = "import os; print(os.path.exists('/tmp/mark')); open('/tmp/mark', 'w'); print(os.uname().nodename)"
    found = [await python(sandboxes, code) for _ in range(4)]
    assert [one.stdout.split()[0] for one in found] == ["False"] * 4


async def test_output_beyond_the_cap_is_dropped_and_said_so(sandboxes: DockerSandboxes) -> None:
    only = await python(sandboxes, "import sys; print('é' * 10**6); print('short', file=sys.stderr)")
    assert len(only.stdout.encode()) in range(65_530, 65_540)
    assert (only.error, only.stderr) == ("", "short\n")
    assert only.message == "stdout cut at 65536 bytes"


async def test_output_that_is_no_text_is_replaced(sandboxes: DockerSandboxes) -> None:
    only = await python(sandboxes, r"import sys; sys.stdout.buffer.write(b'a\xff\x00\x1b[0m\nb')")
    assert only.stdout == "a�\x00\x1b[0m\nb"


async def test_code_waits_for_its_turn_and_no_longer_than_it_may(images: None) -> None:
    node = a_node()
    sandboxes = DockerSandboxes(SandboxSettings(node=node, at_once=1, patience=1.5, has_slots=False, idle_memory=72))
    try:  # as many as there are images: with fewer, the first to come might have one made within his patience, or not
        await sandboxes.warm_up()
        long, _ = await asyncio.gather(
            python(sandboxes, "import time; time.sleep(60)"),
            _refused(sandboxes),
        )
        assert long.error == "TLE"
    finally:
        await sandboxes.close()
    assert left_of(node) == []


async def _refused(sandboxes: DockerSandboxes) -> None:
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await python(sandboxes, "print(1)")


async def test_the_pool_is_within_its_budget_and_hidden_from_the_leases(images: None, tmp_path: Path) -> None:
    node = a_node()
    sandboxes = DockerSandboxes(SandboxSettings(node=node, idle_memory=4 * IDLE_COST, at_once=4))
    runtime = DockerRuntime(RuntimeSettings(node=node, folder=tmp_path, slots=0), SystemClock())
    try:
        await sandboxes.warm_up()
        await asyncio.gather(*(python(sandboxes, "print(1)") for _ in range(8)))
        await sandboxes.warm_up()
        async with asyncio.timeout(50):  # what was used is removed behind the answers
            while (idle := len([name for name in left_of(node) if "-sandbox-slot-" not in name])) > 4:
                await asyncio.sleep(0.05)
        assert idle == 4
        assert await runtime.containers() == ()
    finally:
        await runtime.close()
        await sandboxes.close()
    assert left_of(node) == []


async def test_an_engine_that_is_away_is_unavailable(tmp_path: Path) -> None:
    sandboxes = DockerSandboxes(SandboxSettings(node=a_node(), address=f"unix://{tmp_path}/nobody.sock"))
    with pytest.raises(Unavailable):
        await python(sandboxes, "print(1)")
    await sandboxes.close()


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_sandbox_that_goes_with_its_engine_is_no_fault_of_the_code(
    sandboxes: DockerSandboxes, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """The connection breaks either way: whether the engine still answers tells whose end it was."""
    if not is_there:
        monkeypatch.setattr(sandboxes._engine, "greet", lambda: _raise(ConnectionError("gone")))
    running = asyncio.create_task(python(sandboxes, "import time; time.sleep(2)"))
    while not (used := list(sandboxes._pool._used.values())):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # the code is on its way
    used[0].hang_up()
    if is_there:
        assert (await running).error == "SandboxError"
    else:
        with pytest.raises(Unavailable):
            await running


def _raise(error: Exception) -> None:
    raise error


KILLED = """
import asyncio, sys
from node.adapters.sandboxes.docker import DockerSandboxes
from node.adapters.sandboxes.settings import SandboxSettings
async def main():
    sandboxes = DockerSandboxes(SandboxSettings(node=sys.argv[1], idle_memory=72, at_once=1, has_slots=False))
    await sandboxes.warm_up()
    print("warm", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_node_that_is_killed_leaves_no_sandbox(images: None) -> None:
    node = a_node()
    child = subprocess.Popen([sys.executable, "-c", KILLED, node], stdout=subprocess.PIPE)
    assert child.stdout
    assert await asyncio.to_thread(child.stdout.readline) == b"warm\n"
    assert len(left_of(node)) >= 3, "as many as fit by the first guess; once measured, more may"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    async with asyncio.timeout(100):
        while left_of(node):
            await asyncio.sleep(0.1)


async def test_what_an_earlier_life_left_is_removed_at_the_start(images: None) -> None:
    node = a_node()
    client = docker.APIClient(version="auto")
    labels = {"neugrid.node": node, "neugrid.sandbox": "x"}
    client.create_container("busybox:latest", ["true"], labels=labels, name=f"left-{node}")
    sandboxes = DockerSandboxes(SandboxSettings(node=node, has_slots=False, idle_memory=24))
    try:
        await sandboxes.languages()
        assert f"/left-{node}" not in left_of(node)
    finally:
        await sandboxes.close()
    assert left_of(node) == []

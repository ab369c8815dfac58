"""What hostile code may try in a sandbox, and what it gets: never success for what was none, and never a way out."""

import asyncio

import pytest

from node.adapters.sandboxes.docker import DockerSandboxes
from tests.node.adapters.sandboxes.code import python, result, run

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

LOOK = r"""
import os, re
status = open("/proc/self/status").read()
wanted = ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
for name in wanted: print(name, *re.search(rf"^{name}:(.*)$", status, re.M)[1].split())
print(sorted(os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")))
print(open("/proc/net/dev").read().count(":"))
def writes(path):
    try: open(path, "w").close(); return True
    except OSError: return False
print([path for path in ("/x", "/bin/x", "/etc/passwd", "/proc/sys/kernel/core_pattern", "/sys/x", "/tmp/box/x",
                         "/tmp/box/code/x", "/tmp/box/code/main.py", "/dev/shm/x", "/tmp/x", "x") if writes(path)])
"""


async def test_the_program_is_nobody_without_capabilities_and_writes_only_its_scratch(
    sandboxes: DockerSandboxes,
) -> None:
    lines = (await python(sandboxes, LOOK)).stdout.splitlines()
    assert lines == [
        "Uid 65000 65000 65000 65000",
        "Gid 65000 65000 65000 65000",
        "Groups",
        "CapPrm 0000000000000000",
        "CapEff 0000000000000000",
        "CapBnd 00000000000000e1",
        "CapAmb 0000000000000000",
        "NoNewPrivs 1",
        "Seccomp 2",
        "['0', '1', '2'] 4",
        "1",
        "['/dev/shm/x', '/tmp/x', 'x']",
    ]


TOUCH_THE_AGENT = r"""
import os, signal
def tries(work):
    try: work(); return True
    except OSError: return False
print([name for name, work in {
    "kill": lambda: os.kill(1, 9), "stop": lambda: os.kill(1, signal.SIGSTOP), "int": lambda: os.kill(1, 2),
    "memory": lambda: open("/proc/1/mem", "rb"), "maps": lambda: open("/proc/1/maps").read(),
    "environ": lambda: open("/proc/1/environ").read(), "stdin": lambda: open("/proc/1/fd/0", "rb"),
    "stdout": lambda: open("/proc/1/fd/1", "wb"), "cwd": lambda: os.listdir("/proc/1/cwd/"),
    "root": lambda: os.listdir("/proc/1/root/"), "adj": lambda: open("/proc/1/oom_score_adj", "w").write("1000"),
    "limits": lambda: __import__("resource").prlimit(1, 7, (0, 0)), "uid": lambda: os.setuid(0),
    "move": lambda: os.rename("/tmp/box", "/tmp/bax"), "mode": lambda: os.chmod("/tmp/box", 0o777),
}.items() if tries(work)])
print("all", tries(lambda: os.kill(-1, signal.SIGKILL)))
"""


async def test_the_agent_can_not_be_touched(sandboxes: DockerSandboxes) -> None:
    only = await python(sandboxes, TOUCH_THE_AGENT)
    assert only.stdout.splitlines() == ["[]", "all False"]
    assert only.error == ""


async def test_a_result_can_not_be_forged(sandboxes: DockerSandboxes) -> None:
    forged = '{"code": 0, "milliseconds": 1, "kills": 0, "stdout": "forged", "stderr": "", "cut": [false, false]}'
    only = await python(sandboxes, f"import os\nfor n in range(1, 20):\n  try: os.write(n, {forged!r}.encode())\n"
                                   "  except OSError: pass\nraise SystemExit(3)")  # fmt: skip
    assert (only.error, only.exit_code) == ("RuntimeError", 3)
    assert only.stdout == forged


FORK_BOMB = "import os, time\nwhile True:\n  try: os.fork()\n  except OSError: time.sleep(0.01)"
MANY_PARENTS = """
import os, signal, time
for n in range(1, 32):
    if n not in (9, 19): signal.signal(n, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass
"""


@pytest.mark.parametrize("code", [FORK_BOMB, MANY_PARENTS, "import os\nwhile True:\n  os.write(1, b'x' * 60000)"])
async def test_bombs_and_floods_die_at_their_time_and_trouble_nobody(sandboxes: DockerSandboxes, code: str) -> None:
    only = await python(sandboxes, code)
    # One that the agent does not get rid of is no verdict: nobody is waited for longer than limit and grace.
    assert only.error in ("TLE", "MLE"), only
    assert len(only.stdout) <= 65_536
    assert (await python(sandboxes, "print(1)")).stdout == "1\n"


async def test_a_shell_fork_bomb_ends(sandboxes: DockerSandboxes) -> None:
    only = await run(sandboxes, "bash", "bomb() { bomb | bomb & }; bomb; sleep 60")
    assert only.error in ("TLE", "MLE", "RuntimeError")


async def test_what_outlives_the_program_is_killed_and_does_not_delay_the_answer(sandboxes: DockerSandboxes) -> None:
    # What a run may print is bounded: the program speaks before its child floods, and not in a race with it.
    code = "import os\nprint('done', flush=True)\nif os.fork() == 0:\n  os.setsid()\n  while True: print('x' * 1000)"
    only = await python(sandboxes, code)
    assert (only.error, only.exit_code) == ("", 0)
    assert only.stdout.startswith("done\n")
    assert only.milliseconds < 3000, "that is when a run ends whose child is waited for"


async def test_zombies_do_not_fill_the_process_table(sandboxes: DockerSandboxes) -> None:
    # A run has three seconds, which three hundred could take on a busy machine; there is room for 64 processes.
    code = """
import os
for _ in range(80):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
print("all gone")"""
    only = await python(sandboxes, code)
    assert (only.stdout, only.error) == ("all gone\n", "")


async def test_children_left_as_zombies_by_a_lazy_parent_only_hurt_that_parent(sandboxes: DockerSandboxes) -> None:
    code = "import os\nfor _ in range(200):\n  if os.fork() == 0: os._exit(0)"
    first, second = (await result(sandboxes, "python", code, "a", "b")).runs
    assert (first.error, second.error) == ("RuntimeError", "RuntimeError")
    assert "BlockingIOError" in second.stderr


async def test_a_memory_bomb_spread_over_children_that_aim_at_the_agent_is_no_success(
    sandboxes: DockerSandboxes,
) -> None:
    # They keep what they have, however long they take, and the program ends well as soon as one of them is killed.
    code = """
import os, time
open("/proc/self/oom_score_adj", "w").write("500")
for _ in range(40):
    if os.fork() == 0:
        x = bytearray(9 * 2**20)
        time.sleep(60)
os.wait()
"""
    only = await python(sandboxes, code)
    assert only.error in ("MLE", "SandboxError"), only


async def test_files_are_bounded_and_no_memory_error(sandboxes: DockerSandboxes) -> None:
    code = "f = open('x', 'wb')\nwhile True: f.write(bytes(2**20))"
    only = await python(sandboxes, code)
    assert only.error == "RuntimeError"
    assert "No space left" in only.stderr


DEEP = """
import os
for folder in (".", "/tmp", "/dev/shm"):
    os.chdir(folder)
    for _ in range(1200):
        os.mkdir("d" * 100)
        open("f" * 100, "w").close()
        os.chdir("d" * 100)
    os.chdir("/")
try: os.symlink("/proc", "/tmp/link"); os.mkfifo("/tmp/fifo")
except OSError as error: print(error)
for number in range(3000): open(f"/tmp/{number}", "w").close()
"""


async def test_deep_and_many_files_are_gone_before_the_next_input(sandboxes: DockerSandboxes) -> None:
    found = await result(sandboxes, "python", DEEP, "1", "2", "3")
    assert [(one.error, one.stdout) for one in found.runs] == [("", "")] * 3


async def test_system_v_and_posix_queues_that_would_outlive_a_run_are_not_there(sandboxes: DockerSandboxes) -> None:
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.shmget(1, 4096, 0o1666), libc.msgget(1, 0o1666), libc.semget(1, 1, 0o1666),
      libc.mq_open(b"/x", 0o102, 0o600, 0))
"""
    assert (await python(sandboxes, code)).stdout == "-1 -1 -1 -1\n"


@pytest.mark.parametrize(
    "code",
    [
        '#include "/dev/zero"\nint main() {}',
        '#include "/etc/shadow"\nint main() {}',
        '#include "main.cpp"\nint main() {}',
        "template <int n> struct A { A<n - 1> a; A<n - 2> b; };\ntemplate <> struct A<0> {}; int main() { A<5000> a; }",
        "int x[1000000000] = {1}; int y[1000000000] = {1}; int main() {}",
    ],
)
async def test_a_hostile_compilation_is_a_compilation_error(sandboxes: DockerSandboxes, code: str) -> None:
    found = await result(sandboxes, "cpp", code)
    assert found.runs[0].error == "CompilationError", found
    assert len(found.runs[0].stderr) <= 65_536


async def test_what_a_compiled_program_does_to_its_own_files_does_not_last(sandboxes: DockerSandboxes) -> None:
    code = """
#include <bits/stdc++.h>
#include <sys/stat.h>
#include <unistd.h>
int main() {
    std::cout << unlink("/tmp/box/code/main") << ' ' << chmod("/tmp/box/code/main", 0) << ' '
              << (fopen("/tmp/box/code/main", "r+") != nullptr) << std::endl;
}"""
    found = await result(sandboxes, "cpp", code, "1", "2")
    assert [one.stdout for one in found.runs] == ["-1 -1 0\n"] * 2


async def test_two_sandboxes_at_once_can_not_meet(sandboxes: DockerSandboxes) -> None:
    listen = (
        "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 4000)); s.listen(); s.settimeout(1.5); s.accept()"
    )
    call = """
import socket, time
for _ in range(10):
    try:
        socket.create_connection(("127.0.0.1", 4000), 1); print("met"); break
    except OSError: time.sleep(0.1)
"""
    abstract = "import socket, time\ns = socket.socket(socket.AF_UNIX); s.bind('\\0x'); print('bound'); time.sleep(0.5)"
    heard, called = await asyncio.gather(python(sandboxes, listen), python(sandboxes, call))
    assert "timed out" in heard.stderr
    assert called.stdout == ""
    both = await asyncio.gather(python(sandboxes, abstract), python(sandboxes, abstract))
    assert [one.stdout for one in both] == ["bound\n"] * 2

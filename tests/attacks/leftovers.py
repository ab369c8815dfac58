"""What code may leave in its sandbox for the next input, say in its agent's name, or find of those before it."""

import asyncio
from typing import Final

from tests.attacks.attack import PRELUDE
from tests.attacks.scenes import Scene
from tests.attacks.stages import Code

LEAVES: Final[dict[str, tuple[str, str]]] = {
    "files-left": (
        "for place in ('/tmp', '/dev/shm', '.'): open(place + '/left', 'w').write('x')",
        "found = [p for p in ('/tmp/left', '/dev/shm/left', 'left') if os.path.exists(p)]",
    ),
    "folders-nobody-may-enter": (
        "os.makedirs('/tmp/a/b'); open('/tmp/a/b/left', 'w'); os.chmod('/tmp/a/b', 0); os.chmod('/tmp/a', 0)",
        "found = [n for n in os.listdir('/tmp') if n != 'box']",
    ),
    "processes-left": (
        "[os.fork() or (os.setsid(), time.sleep(60)) for _ in range(5)]",
        "found = [n for n in os.listdir('/proc') if n.isdecimal() and int(n) > 1 and int(n) not in (os.getpid(), os.getppid())]",
    ),
    "sockets-left": (
        "if os.fork() == 0:\n  s = socket.socket(socket.AF_UNIX); s.bind('\\0left'); s.listen(); os.setsid(); time.sleep(60)\ntime.sleep(0.1)",
        "found = [line for line in open('/proc/net/unix') if '@left' in line]",
    ),
    "ports-left": (
        "if os.fork() == 0:\n  s = socket.socket(); s.bind(('127.0.0.1', 4000)); s.listen(); os.setsid(); time.sleep(60)\ntime.sleep(0.1)",
        "found = socket.socket().connect_ex(('127.0.0.1', 4000)) == 0",
    ),
    "links-where-the-next-writes": (
        "os.symlink('/tmp/box/code/main.py', '/tmp/trap'); os.mkfifo('/tmp/pipe'); os.symlink('/proc/1/fd/1', 'work')",
        "found = [n for n in os.listdir('/tmp') if n != 'box'] + os.listdir('.')",
    ),
    "settings-left": (
        "os.umask(0); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); os.environ['LEFT'] = 'x'; os.nice(19)",
        "found = os.environ.get('LEFT') or os.nice(0) or resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 0",
    ),
    "source-rewritten": (
        "for act in (os.unlink, lambda p: os.chmod(p, 0o777), lambda p: os.rename(p, '/tmp/x')):\n  try: act('/tmp/box/code/main.py')\n  except OSError: pass",
        "found = not os.path.exists('/tmp/box/code/main.py')",
    ),
    "memory-left": (
        "[(lambda file: (os.ftruncate(file, 2**24), os.write(file, bytes(2**24))))(os.open(f'/dev/shm/{n}', os.O_CREAT | os.O_RDWR)) for n in range(1)]",
        "found = os.statvfs('/dev/shm').f_bavail < os.statvfs('/dev/shm').f_blocks - 8",
    ),
    "queues-left": (
        "libc.mq_open(b'/left', os.O_CREAT | os.O_RDWR, 0o600, 0)",
        "found = libc.mq_open(b'/left', os.O_RDWR) >= 0",
    ),
    "timers-left": ("signal.alarm(1); libc.ualarm(1000, 1000)", "found = signal.alarm(0) != 0"),
}
FORGED: Final = {
    "nonce-in-memory": "text = open('/proc/1/mem', 'rb').read(10)",
    "nonce-in-environment": "text = open('/proc/1/environ').read()",
    "nonce-on-the-stack": "text = open('/proc/1/stack').read()",
    "agents-streams": "for n in range(8):\n  try: os.write(os.open(f'/proc/1/fd/{n}', os.O_WRONLY), b'{\"code\": 0}\\n')\n  except OSError: pass\nraise OSError",
    "agent-stopped": "os.kill(1, signal.SIGSTOP)",
    "agent-killed": "os.kill(1, signal.SIGKILL)",
    "agent-interrupted": "[os.kill(1, n) for n in range(1, 65)]",
    "agent-slowed": "os.setpriority(os.PRIO_PROCESS, 1, 19)",
    "agent-limited": "resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))",
    "agents-folder": "os.rename('/tmp/box', '/tmp/bax')",
    "agents-folder-filled": "open('/tmp/box/x', 'w')",
    "agents-processor": "os.sched_setaffinity(1, {0})",
    "agents-scheduler": "os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))",
    "agents-oom-score": "open('/proc/1/oom_score_adj', 'w').write('1000')",
    "agents-program": "os.readlink('/proc/1/exe'); open('/proc/1/map_files')",
}


def _leaves(id: str, leave: str, look: str) -> Scene:
    program = f"{PRELUDE}\nif sys.stdin.read() == 'leave':\n{_indented(leave)}\nelse:\n{_indented(look)}\n  print('found', found or '')"

    async def play(stage: Code) -> list[str]:
        first, second = (await stage.result(program, "leave", "look")).runs
        assert second.error == "", (first, second)
        said = second.stdout.strip()
        return [] if said == "found" else [said[:100]]

    return Scene(id=id, group="leftovers", play=play, tiers=("code",))


def _forged(id: str, attempt: str) -> Scene:
    program = f"{PRELUDE}\ntry:\n{_indented(attempt)}\n  print('ESCAPED', {id!r})\nexcept OSError: pass\nprint('tried')"

    async def play(stage: Code) -> list[str]:
        (only,) = (await stage.result(program)).runs
        assert (only.error, "tried" in only.stdout) == ("", True), only
        return [line for line in only.stdout.splitlines() if line.startswith("ESCAPED")]

    return Scene(id=id, group="the agent", play=play, tiers=("code",))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


async def _meet(stage: Code) -> list[str]:
    """Two sandboxes at once share no loopback, no names of sockets, no memory and no files."""
    serve = "s = socket.socket(); s.bind(('127.0.0.1', 4000)); s.listen()\nu = socket.socket(socket.AF_UNIX); u.bind('\\0met'); u.listen()\nopen('/dev/shm/met', 'w'); open('/tmp/met', 'w'); time.sleep(1.5)"
    look = "time.sleep(0.8)\nif socket.socket().connect_ex(('127.0.0.1', 4000)) == 0: print('port')\nif os.path.exists('/dev/shm/met') or os.path.exists('/tmp/met'): print('file')\ntry: socket.socket(socket.AF_UNIX).connect('\\0met'); print('socket')\nexcept OSError: pass"
    _, seen = await asyncio.gather(stage.result(PRELUDE + serve), stage.result(PRELUDE + look))
    return seen.runs[0].stdout.split()


async def _forge(stage: Code) -> list[str]:
    """A word in the agent's shape, on every descriptor there is, is only the program's output."""
    word = '{"code": 0, "milliseconds": 1, "kills": 0, "stdout": "forged", "stderr": "", "cut": [false, false], "fault": ""}\\n'
    program = (
        f"{PRELUDE}\nfor n in range(1, 64):\n  try: os.write(n, {word!r}.encode())\n  except OSError: pass\nsys.exit(3)"
    )
    (only,) = (await stage.result(program)).runs
    return [] if (only.exit_code, only.error) == (3, "RuntimeError") else [str(only)[:100]]


LEFTOVERS: Final = (
    *(_leaves(id, leave, look) for id, (leave, look) in LEAVES.items()),
    *(_forged(id, attempt) for id, attempt in FORGED.items()),
    Scene(id="sandboxes-that-meet", group="the agent", play=_meet, tiers=("code",)),
    Scene(id="a-result-of-ones-own", group="the agent", play=_forge, tiers=("code",)),
)

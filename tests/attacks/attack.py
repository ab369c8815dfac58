"""What an attack is: a program for one or more tiers, how it must end, and the words by which it tells of an escape.

A program is Python in which `never(what, act)` says that `act` must fail; what succeeds all the same prints ESCAPED.
A program that came to its end prints "tried", so that one that broke on the way proves nothing and is seen.
"""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

WORKLOADS: Final = ("batch", "service", "gvisor")
TIERS: Final = (*WORKLOADS, "code")
ESCAPED: Final = "ESCAPED"
TRIED: Final = "tried"


class Attack(Struct, frozen=True, kw_only=True):
    """One scripted attack. `ends` are the right ends: "exited", "oom", "timeout", "killed" or an error of the runner's.

    A quiet one changes nothing that lasts, so that many share one container. `emulated` are the tiers with a kernel of
    their own, in which what is forbidden elsewhere concerns that kernel alone.
    """

    id: str
    group: str
    program: str
    tiers: tuple[str, ...] = TIERS
    ends: tuple[str, ...] = ("exited",)
    code_ends: tuple[str, ...] = ("",)
    is_quiet: bool = False
    is_heard: bool = True
    """Whether its last word can be expected: not of one that is killed, or that floods its output."""
    seconds: int = 30
    emulated: tuple[str, ...] = ()


class Result(Struct, frozen=True, kw_only=True):
    """What came of an attack in one tier."""

    id: str
    group: str
    end: str
    is_right: bool
    escapes: tuple[str, ...] = ()
    milliseconds: int = 0


PRELUDE: Final = r"""
import ctypes, errno, fcntl, mmap, os, resource, select, signal, socket, stat, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *given):
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in given]
    got = libc.syscall(ctypes.c_long(number), *words)
    if got < 0: raise OSError(ctypes.get_errno(), "refused")
    return got
def never(what, act):
    try: got = act()
    except (OSError, ValueError, OverflowError, EOFError): return
    if got in (False, None, b"", "") and got is not None: return
    print("ESCAPED", what, repr(got)[:100], flush=True)
def dies(what, act):
    child = os.fork()
    if child == 0:
        never(what, act)
        os._exit(0)
    os.waitpid(child, 0)
def writes(path, data=b"1"):
    file = os.open(path, os.O_WRONLY)
    try: return os.write(file, data)
    finally: os.close(file)
def makes(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    return path
def reads(path):
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try: return os.read(file, 64)
    finally: os.close(file)
"""
TOGETHER: Final = r"""
for name, act in ATTACKS:
    print("BEGIN", name, flush=True)
    child = os.fork()
    if child == 0:
        try:
            act()
            print("tried", flush=True)
        except BaseException as error: print("BROKE", type(error).__name__, error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def alone(attack: Attack) -> str:
    """The program of one attack."""
    return f"{PRELUDE}\n{attack.program.strip()}\nprint('tried', flush=True)\n"


def together(attacks: Sequence[Attack]) -> str:
    """One program that tries all of these, each in a process of its own."""
    parts = [PRELUDE, "ATTACKS = []"]
    for number, attack in enumerate(attacks):
        body = textwrap.indent(attack.program.strip(), "    ")
        parts.append(f"def attack_{number}():\n{body}\nATTACKS.append(({attack.id!r}, attack_{number}))")
    return "\n".join([*parts, TOGETHER])


def judged(attack: Attack, tier: str, end: str, lines: Sequence[str], milliseconds: int = 0) -> Result:
    """The result of an attack that ended so and said these lines."""
    escapes = () if tier in attack.emulated else tuple(line for line in lines if line.startswith(ESCAPED))
    right = attack.code_ends if tier == "code" else attack.ends
    has_tried = TRIED in lines or not attack.is_heard
    broke = [line for line in lines if line.startswith("BROKE")]
    told = f"{end} {broke[0] if broke else '' if has_tried else 'without its last word'}".strip()
    return Result(
        id=attack.id, group=attack.group, end=told, is_right=end in right and has_tried, escapes=escapes,
        milliseconds=milliseconds,
    )  # fmt: skip


def shares(lines: Iterable[str]) -> dict[str, list[str]]:
    """The lines of each attack of a common program."""
    found: dict[str, list[str]] = {}
    mine: list[str] = []
    for line in lines:
        if line.startswith("BEGIN "):
            mine = found.setdefault(line.removeprefix("BEGIN "), [])
        else:
            mine.append(line)
    return found

"""Attacks on what is shared: processes, memory, disks, files, output. Each has a container to itself."""

from typing import Final

from tests.attacks.attack import Attack

LAST: Final = ("timeout", "killed")
"""How a workload ends that goes on for ever: at its time limit, or as a service when it is stopped."""
DIES: Final = ("oom", "timeout", "killed")

PROCESSES: Final = (
    Attack(
        id="fork-bomb", group="processes", ends=DIES, code_ends=("TLE", "MLE"), is_heard=False, seconds=2,
        program="while True:\n  try: os.fork()\n  except OSError: time.sleep(0.05)",
    ),
    Attack(
        id="fork-bomb-of-sessions", group="processes", ends=(*DIES, "exited"), code_ends=("TLE", "MLE"), is_heard=False, seconds=2,
        program="""
for number in range(1, 32):
    if number not in (9, 19): signal.signal(number, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: time.sleep(0.01)
""",
    ),
    Attack(
        id="fork-bomb-of-a-shell", group="processes", ends=(*DIES, "exited"), is_heard=False, seconds=2,
        code_ends=("TLE", "MLE", "RuntimeError", ""),
        program='os.execvp("sh", ["sh", "-c", "b() { b | b & }; b; sleep 60"])',
    ),
    Attack(
        id="thread-bomb", group="processes", ends=DIES, code_ends=("TLE", "MLE"), is_heard=False, seconds=2,
        program="""
threading.stack_size(65536)
while True:
    try: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError: time.sleep(0.05)
""",
    ),
    Attack(
        id="processes-are-counted", group="processes", ends=("exited", "oom"), is_heard=False,
        program="""
made = 0
try:
    while made < 2000:
        if os.fork() == 0: time.sleep(60)
        made += 1
except OSError: pass
if made >= 400: print("ESCAPED", made, "processes")
os.kill(-1, 0) if made < 0 else None
""",
    ),
    Attack(
        id="zombies", group="processes",
        program="""
for _ in range(30):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
def dead():
    states = []
    for number in os.listdir("/proc"):
        try: states.append(number.isdecimal() and open(f"/proc/{number}/stat").read().rpartition(")")[2].split()[0])
        except OSError: pass  # it was cleared away in this moment
    return states.count("Z")
end = time.monotonic() + (1.5 if os.getuid() == 65000 else 20)
while dead() > 5 and time.monotonic() < end: time.sleep(0.05)
if dead() > 5: print("ESCAPED zombies", dead())
""",
    ),
    Attack(
        id="deaf-to-signals", group="processes", ends=LAST, code_ends=("TLE",), is_heard=False, seconds=2,
        program="""
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1)
""",
    ),
    Attack(
        id="stopped-for-ever", group="processes", ends=LAST, code_ends=("TLE",), is_heard=False, seconds=2,
        program="os.kill(os.getpid(), signal.SIGSTOP)\nwhile True: time.sleep(1)",
    ),
    Attack(
        id="kill-everything", group="processes", is_heard=False, ends=("exited", "killed"), code_ends=("", "RuntimeError"),
        program="os.kill(1, signal.SIGKILL) if os.getuid() != 65000 else None\ntime.sleep(0.2)\nprint('alive')",
    ),
    Attack(
        id="kill-all-there-are", group="processes", is_heard=False, ends=("exited", "killed"),
        code_ends=("", "RuntimeError"), program="os.kill(-1, signal.SIGKILL)",
    ),
    Attack(
        id="leaves-a-daemon", group="processes", program="""
if os.fork() == 0:
    os.setsid()
    for descriptor in range(3): os.close(descriptor)
    while True: time.sleep(1)
""",
    ),
    Attack(
        id="spin", group="processor", ends=LAST, code_ends=("TLE",), is_heard=False, seconds=2,
        program="for _ in range(4): os.fork()\nwhile True: pass",
    ),
    Attack(
        id="spin-in-the-kernel", group="processor", ends=LAST, code_ends=("TLE",), is_heard=False, seconds=2,
        program='while True: os.stat("/"), os.getppid(), time.sleep(0)',
    ),
)  # fmt: skip

MEMORY: Final = (
    Attack(id="memory-bomb", group="memory", program="x = bytearray(10**9)", ends=("oom",),
           code_ends=("MLE",), is_heard=False),
    Attack(
        id="memory-bomb-in-a-child", group="memory", ends=("oom",), code_ends=("MLE",), is_heard=False,
        program="if os.fork() == 0: x = bytearray(10**9)\nos.wait()",
    ),
    Attack(
        id="memory-bomb-in-many", group="memory", ends=("oom", "timeout", "killed"), code_ends=("MLE", "TLE", "SandboxError"),
        is_heard=False, seconds=5,
        program="""
for _ in range(40):
    if os.fork() == 0:
        x = bytearray(40 * 2**20)
        time.sleep(60)
time.sleep(60)
""",
    ),
    Attack(
        id="shared-memory-bomb", group="memory", ends=("oom",), code_ends=("MLE",), is_heard=False,
        program="x = mmap.mmap(-1, 10**9)\nfor at in range(0, 10**9, 4096): x[at] = 1",
    ),
    Attack(
        id="memory-files", group="memory", ends=("oom",), code_ends=("MLE",), is_heard=False,
        program="kept = [os.memfd_create('x') for _ in range(20)]\nfor one in kept:\n  for _ in range(64): os.write(one, bytes(2**20))",
    ),
    Attack(
        id="pipes-full", group="memory", ends=("exited", "oom"), code_ends=("", "MLE", "RuntimeError"), is_heard=False,
        program="""
kept = []
try:
    while True:
        kept.append(os.pipe())
        os.set_blocking(kept[-1][1], False)
        os.write(kept[-1][1], bytes(65536))
except OSError: print(len(kept))
""",
    ),
    Attack(
        id="sockets-full", group="memory", ends=("exited", "oom"), code_ends=("", "MLE", "RuntimeError"), is_heard=False,
        program="""
kept = []
try:
    while True:
        kept.append(socket.socketpair())
        kept[-1][0].setblocking(False)
        kept[-1][0].send(bytes(200000))
except OSError: print(len(kept))
""",
    ),
    Attack(
        id="locked-memory", group="memory",
        program='x = mmap.mmap(-1, 2**24)\nnever("lock", lambda: call(149, ctypes.addressof(ctypes.c_char.from_buffer(x)), 2**24) == 0)',
    ),
    Attack(
        id="huge-pages", group="memory", emulated=("gvisor",),
        program='never("huge", lambda: mmap.mmap(-1, 2**21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000))',
    ),
    Attack(
        id="endless-recursion", group="memory", code_ends=("RuntimeError", "MLE"), is_heard=False, ends=("exited", "oom"),
        program="sys.setrecursionlimit(10**8)\ndef deeper(): deeper()\ndeeper()",
    ),
    Attack(
        id="many-mappings", group="memory", ends=("exited", "oom"), code_ends=("", "MLE", "RuntimeError"), is_heard=False,
        program="kept = []\ntry:\n  while len(kept) < 70000: kept.append(mmap.mmap(-1, 4096, prot=1 + len(kept) % 2))\nexcept OSError: pass",
    ),
    Attack(
        id="files-open", group="memory",
        program="""
kept = []
try:
    while len(kept) < 10**5: kept.append(os.open("/dev/null", os.O_RDONLY))
    print("ESCAPED", len(kept))
except OSError: pass
for one in kept: os.close(one)
""",
    ),
)  # fmt: skip

FILL: Final = """
def fill(path, most):
    wrote = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while wrote <= most: wrote += file.write(bytes(2**20))
        print("ESCAPED", path, wrote)
    except OSError: pass
    try: os.unlink(path)
    except OSError: pass
"""
DISK: Final = (
    Attack(id="fill-tmp", group="disks", program=f'{FILL}\nfill("/tmp/x", 80 * 2**20)'),
    Attack(id="fill-shared-memory", group="disks", program=f'{FILL}\nfill("/dev/shm/x", 80 * 2**20)'),
    Attack(id="fill-the-root", group="disks", program=f'{FILL}\nfor path in ("/x", "/etc/x", "/usr/x"): fill(path, 2**20)'),
    Attack(
        id="fill-places-of-services", group="disks", tiers=("service",), seconds=60,
        program=f'{FILL}\nfor path in ("/var/x", "/run/x", "/data/x"): fill(path, 40 * 2**20)',
    ),
    Attack(
        id="inodes-of-places-of-services", group="disks", tiers=("service",), seconds=60,
        program="""
for folder in ("/var", "/run", "/data"):
    made = 0
    try:
        while made < 50_000: makes(f"{folder}/f{made}"); made += 1
        print("ESCAPED", folder, made)
    except OSError: pass
    for number in range(made): os.unlink(f"{folder}/f{number}")
""",
    ),
    Attack(
        id="inodes", group="inodes", ends=("exited", "oom"), code_ends=("", "MLE", "RuntimeError", "TLE"), is_heard=False,
        program="""
for number in range(200_000):
    try: makes(f"/tmp/f{number}")
    except OSError as error:
        print(error.errno == errno.ENOSPC, number)
        break
""",
    ),
    Attack(
        id="deep-folders", group="inodes", ends=("exited", "oom"), code_ends=("", "MLE"), is_heard=False,
        program="""
os.chdir("/tmp")
for _ in range(3000):
    try: os.mkdir("d" * 200); os.chdir("d" * 200)
    except OSError: break
""",
    ),
    Attack(
        id="links-in-circles", group="inodes",
        program='os.symlink("/tmp/b", "/tmp/a"); os.symlink("/tmp/a", "/tmp/b"); os.symlink("/tmp", "/tmp/c")',
    ),
    Attack(
        id="sparse", group="disks",
        program="""
file = os.open("/tmp/sparse", os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 2**40)
os.pwrite(file, b"x", 2**39)
os.unlink("/tmp/sparse")
""",
    ),
    Attack(
        id="allocate", group="disks",
        program='never("allocate", lambda: os.posix_fallocate(os.open("/tmp/x", os.O_RDWR | os.O_CREAT), 0, 2**32) or True)',
    ),
    Attack(
        id="deleted-and-open", group="disks", ends=("exited", "oom"), code_ends=("RuntimeError", "MLE", ""),
        program="""
kept = []
try:
    for number in range(80):
        kept.append(os.open(f"/tmp/{number}", os.O_RDWR | os.O_CREAT))
        os.unlink(f"/tmp/{number}")
        os.write(kept[-1], bytes(2**20))
    print("ESCAPED", len(kept))
except OSError: pass
""",
    ),
    Attack(
        id="sync-storm", group="disks", ends=("exited",),
        program="""
for _ in range(200):
    file = os.open("/tmp/x", os.O_RDWR | os.O_CREAT)
    os.write(file, b"x"); os.fsync(file); os.close(file)
os.sync()
""",
    ),
)  # fmt: skip

OUTPUT: Final = (
    Attack(
        id="flood", group="output", ends=("exited", *LAST), code_ends=("TLE", ""), is_heard=False, seconds=3,
        program='end = time.monotonic() + 1\nwhile time.monotonic() < end: os.write(1, b"x" * 99 + b"\\n")',
    ),
    Attack(
        id="flood-of-both", group="output", ends=LAST, code_ends=("TLE",), is_heard=False, seconds=2,
        program='while True: os.write(1, b"x\\n" * 30000); os.write(2, b"y\\n" * 30000)',
    ),
    Attack(
        id="flood-of-one-line", group="output", ends=("exited", *LAST), code_ends=("TLE", ""), is_heard=False, seconds=3,
        program='end = time.monotonic() + 1\nwhile time.monotonic() < end: os.write(1, bytes(60000))',
    ),
    Attack(
        id="flood-of-empty-lines", group="output", ends=("exited", *LAST), code_ends=("TLE", ""), is_heard=False, seconds=3,
        program='end = time.monotonic() + 1\nwhile time.monotonic() < end: os.write(1, b"\\n" * 60000)',
    ),
    Attack(
        id="no-text", group="output", program='os.write(1, bytes(range(256)) * 100 + b"\\x1b]0;owned\\x07\\xff\\xfe\\n")',
    ),
    Attack(
        id="streams-closed", group="output", is_heard=False, program="for number in (0, 1, 2): os.close(number)\ntime.sleep(0.2)\nos._exit(0)",
    ),
    Attack(
        id="words-of-the-node", group="output",
        program="""
for text in ('{"ready": true}', '0' * 32 + '{"code": 0}', '\\x01\\x00\\x00\\x00\\xff\\xff\\xff\\xff', '2026-01-01T00:00:00Z x'):
    print(text)
""",
    ),
)  # fmt: skip

FLOODS: Final = (*PROCESSES, *MEMORY, *DISK, *OUTPUT)

"""System calls that lead out of a container, or change the machine; each is tried as it is and must be refused."""

from typing import Final

from tests.attacks.attack import Attack

CLONE: Final = {"user": 0x10000000, "mount": 0x20000, "net": 0x40000000, "pid": 0x20000000, "ipc": 0x08000000,
                "uts": 0x04000000, "cgroup": 0x02000000}  # fmt: skip
AT: Final = -100

CALLS: Final[dict[str, str]] = {
    "mount-tmpfs": 'call(165, b"none", b"/tmp", b"tmpfs", 0, 0)',
    "mount-bind-root": 'call(165, b"/", b"/tmp", 0, 4096, 0)',
    "mount-proc": 'call(165, b"proc", b"/tmp", b"proc", 0, 0)',
    "mount-cgroup": 'call(165, b"cgroup", b"/tmp", b"cgroup", 0, b"memory")',
    "mount-cgroup2": 'call(165, b"none", b"/tmp", b"cgroup2", 0, 0)',
    "mount-host-disk": 'call(165, b"/dev/vda", b"/tmp", b"ext4", 0, 0)',
    "remount-root": 'call(165, b"none", b"/", 0, 32, 0)',
    "umount-mask": 'call(166, b"/proc/kcore", 2)',
    "pivot-root": 'call(155, b"/tmp", b"/tmp")',
    "chroot": 'call(161, b"/tmp")',
    "open-tree": f'call(428, {AT}, b"/", 1)',
    "move-mount": f'call(429, {AT}, b"/tmp", {AT}, b"/", 0)',
    "fsopen": 'call(430, b"tmpfs", 0)',
    "fspick": f'call(433, {AT}, b"/", 0)',
    "mount-setattr": f'call(442, {AT}, b"/", 0, bytes(32), 32)',
    **{f"unshare-{name}": f"call(272, {flag})" for name, flag in CLONE.items()},
    "clone-user": "call(56, 0x10000011, 0, 0, 0, 0)",
    "clone3-user": 'call(435, struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)',
    "setns-of-init": 'call(308, os.open("/proc/1/ns/mnt", os.O_RDONLY), 0)',
    "setns-by-pidfd": "call(308, call(434, 1, 0), 0x20000)",
    "ptrace-init": "call(101, 16, 1, 0, 0)",
    "read-memory-of-another": "call(310, 1, bytes(16), 1, bytes(16), 1, 0)",
    "pidfd-getfd": "call(438, call(434, 1, 0), 0, 0)",
    "kcmp": "call(312, 1, os.getpid(), 0, 0, 0)",
    "keyctl-session": "call(250, 1, 0, 0, 0)",
    "add-key": 'call(248, b"user", b"x", b"y", 1, -3)',
    "request-key": 'call(249, b"user", b"x", 0, -3)',
    "bpf-map": "call(321, 0, struct.pack('4I', 2, 4, 4, 1) + bytes(56), 72)",
    "bpf-program": "call(321, 5, bytes(72), 72)",
    "perf-event": "call(298, struct.pack('2I', 1, 112) + bytes(104), 0, -1, -1, 0)",
    "userfaultfd": "call(323, 0)",
    "io-uring": "call(425, 8, bytes(120))",
    "kexec": "call(246, 0, 0, 0, 0)",
    "kexec-file": "call(320, -1, -1, 0, 0, 0)",
    "init-module": 'call(175, bytes(64), 64, b"")',
    "finit-module": 'call(313, os.open("/proc/self/exe", os.O_RDONLY), b"", 0)',
    "delete-module": 'call(176, b"loop", 0)',
    "reboot": "call(169, 0xfee1dead, 672274793, 0, 0)",
    "swapon": 'call(167, b"/tmp/swap", 0)',
    "set-clock": 'call(227, 0, struct.pack("2q", int(time.time()), 0))',
    "set-time": 'call(164, struct.pack("2q", int(time.time()), 0), 0)',
    "adjust-clock": 'call(159, struct.pack("I", 1) + bytes(204))',
    "host-name": 'call(170, b"owned", 5)',
    "domain-name": 'call(171, b"owned", 5)',
    "iopl": "call(172, 3)",
    "ioperm": "call(173, 0x70, 1, 1)",
    "accounting": 'call(163, b"/tmp/acct")',
    "quota": 'call(179, 0x800001, b"/dev/vda", 0, 0)',
    "open-by-handle": f'call(304, {AT}, struct.pack("2IQ", 8, 1, 2), 0)',
    "name-to-handle": f'call(303, {AT}, b"/", struct.pack("2I", 128, 0) + bytes(128), bytes(8), 0)',
    "fanotify": "call(300, 0, 0)",
    "kernel-log": "call(103, 3, bytes(4096), 4096)",
    "hang-up": "call(153)",
    "personality": "call(135, 0x0400000)",
    "migrate-pages": "call(256, 1, 64, struct.pack('Q', 1), struct.pack('Q', 1))",
    "move-pages": "call(279, 1, 0, 0, 0, 0, 0)",
    "dcookie": "call(212, 1, bytes(64), 64)",
    "use-library": 'call(134, b"/bin/sh")',
    "real-time": 'call(144, 0, 1, struct.pack("i", 50))',
    "nicer": "call(141, 0, 0, -10)",
    "io-priority": "call(251, 1, 0, 1 << 13)",
    "become-root": "call(105, 0)",
    "become-group-root": "call(119, 0, 0, 0)",
    "join-groups": "call(116, 1, struct.pack('I', 0))",
    "take-capabilities": 'call(126, struct.pack("2I", 0x20080522, 0), struct.pack("6I", *[0xffffffff] * 3, 0, 0, 0))',
    "ambient-capability": "call(157, 47, 2, 21, 0, 0)",
    "keep-capabilities": "call(157, 28, 1, 0, 0, 0)",
    "raise-limits": "resource.setrlimit(resource.RLIMIT_NOFILE, (2**20, 2**20))",
    "more-memory-locked": "resource.setrlimit(resource.RLIMIT_MEMLOCK, (2**30, 2**30))",
    "dump-core": "resource.setrlimit(resource.RLIMIT_CORE, (2**20, 2**20))",
    "another-process-by-number": "os.kill(2**21, 9)",
}
EMULATED: Final = frozenset(
    {
        *(f"unshare-{name}" for name in CLONE), "clone-user", "clone3-user", "setns-by-pidfd", "name-to-handle",
        "personality", "kernel-log", "nicer", "io-priority", "real-time", "kcmp", "migrate-pages", "fanotify", "setns-of-init",
        "keyctl-session", "ptrace-init", "read-memory-of-another",
    }
)  # fmt: skip
"""What gVisor does in its own kernel, for the sandbox alone."""

OTHER_WAYS: Final = {  # the filter ends who makes calls of another architecture
    "calls-of-i386": """
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("5389f889f3cd805bc3"))  # push rbx; mov eax, edi; mov ebx, esi; int 0x80; pop rbx; ret
enter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
for number, word in ((310, 0x10000000), (425, 8), (213, 0)): dies(number, lambda: enter(number, word) >= 0)
""",
    "calls-of-x32": "for number in (272, 425, 321): dies(number, lambda: call(0x40000000 | number, 0x10000000) >= 0)",
    "new-privileges": """
never("no-new-privileges off", lambda: call(157, 38, 0, 0, 0, 0))
never("no filter", lambda: call(157, 21, 0, 0, 0, 0) != 2)
""",
    "set-user-id-program": """
import shutil
shutil.copy("/proc/self/exe", "/tmp/program")
os.chmod("/tmp/program", 0o6755)
never("owner", lambda: os.chown("/tmp/program", 0, 0))
never("capability", lambda: os.setxattr("/tmp/program", "security.capability",
      struct.pack("<5I", 0x02000001, 0xffffffff, 0, 0xffffffff, 0)))
os.unlink("/tmp/program")
""",
}


def _attacks() -> tuple[Attack, ...]:
    calls = [
        Attack(id=name, group="system calls", is_quiet=True, program=f"never({name!r}, lambda: {act})",
               emulated=("gvisor",) if name in EMULATED else ())
        for name, act in CALLS.items()
    ]  # fmt: skip
    ways = [
        Attack(id=name, group="system calls", is_quiet=True, program=text, emulated=("gvisor",))
        for name, text in OTHER_WAYS.items()
    ]
    return (*calls, *ways)


KERNEL: Final = _attacks()

"""Where nobody's workload may connect to, as places that answer in the box, and a program that tries them all."""

import json

GATEWAYS = ("10.66.0.2", "51.15.0.1", "51.15.0.200")
"""The provider's router, and neighbours with public addresses in the network that the provider is in."""
PRIVATE = [
    "10.0.0.1", "10.1.2.3", "10.255.255.254", "172.16.0.1", "172.20.10.5", "172.31.255.254", "192.168.0.1",
    "192.168.1.1", "192.168.100.50",
]  # fmt: skip
METADATA = ["169.254.169.254", "169.254.170.2", "169.254.0.23", "168.63.129.16", "192.0.0.192", "100.100.100.200"]
RESERVED = [
    "100.64.0.1", "100.127.255.254", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "192.88.99.1",
    "192.31.196.1", "192.52.193.1", "192.175.48.1",
]  # fmt: skip
SPELLED = ["::ffff:10.0.0.1", "::ffff:169.254.169.254"]
PUBLIC = "93.184.216.34"
MAIL = [(PUBLIC, 25), (PUBLIC, 465), (PUBLIC, 587), ("8.8.8.8", 25)]

Target = tuple[str, str, int]

OUTSIDE: list[Target] = [
    *(("tcp", address, 80) for address in [*GATEWAYS, *PRIVATE, *METADATA, *RESERVED, *SPELLED]),
    *(("tcp", address, port) for address, port in MAIL),
    *(("tcp", "10.66.0.2", port) for port in (22, 53, 2375, 6443, 8545)),
    *(("udp", address, 123) for address in ("10.0.0.1", "169.254.169.254", "100.64.0.1", "10.66.0.2")),
]
"""What must not be reached, whoever the provider is."""

TRY = """
import json, selectors, socket, sys, time
waiting, reached = selectors.DefaultSelector(), []
for kind, address, port in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    one.setblocking(False)
    try:
        one.connect((address, port))
    except BlockingIOError:
        pass
    except OSError:
        continue
    try:
        kind == "tcp" or one.send(b"?")
    except OSError:
        continue
    waiting.register(one, selectors.EVENT_READ, (kind, address, port))
end = time.monotonic() + float(sys.argv[2])
while waiting.get_map() and time.monotonic() < end:
    for key, _ in waiting.select(0.1):
        waiting.unregister(key.fileobj)
        try:
            if key.fileobj.recv(16):
                reached.append(key.data)
        except OSError:
            pass
print(json.dumps(reached))
"""


def attempt(targets: list[Target], seconds: float = 2.0) -> tuple[str, ...]:
    """The command that tries all `targets` at once and prints those that answered."""
    return ("python", "-c", TRY, json.dumps(targets), str(seconds))


def answered(line: str) -> set[Target]:
    return {(kind, address, port) for kind, address, port in json.loads(line)}

"""How many files and sockets this process may have open: each stream of bytes, and each container inside, costs one."""

import resource
from contextlib import suppress
from typing import Final

WANTED: Final = 65_536


def allow_many_files() -> int:
    """Raise the soft limit, which is often 1,024, as far as the hard one allows; how many there may be then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some kernels allow less than they say: then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

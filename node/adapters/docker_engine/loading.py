"""An archive of an image into the engine, as `node.adapters.images.archives` writes it anew."""

import re
from pathlib import Path
from typing import Final

from market.errors import Unavailable
from node.adapters.docker_engine.calls import Client
from node.adapters.images.archives import Plan, stream

LOAD_LIMIT: Final = 1800.0
"""Seconds that the engine may be silent while it takes an archive."""
_LOADED: Final = re.compile(r"Loaded image(?: ID)?: (sha256:[0-9a-f]{64})")


def load(client: Client, archive: Path, plan: Plan) -> str:
    """Load the planned image and say its id, which newer engines choose otherwise; blocking, for a thread."""
    where = f"{client.base_url}/v{client.api_version}/images/load"
    headers = {"Content-Type": "application/x-tar"}
    answer = client.post(where, params={"quiet": 1}, data=stream(archive, plan), headers=headers, timeout=LOAD_LIMIT)
    said = answer.text[-2000:]
    if answer.status_code != 200 or '"error"' in said:
        raise Unavailable(f"the engine refused the image: {said.strip()[:300]}", service="docker")
    found = _LOADED.search(said)
    return found[1] if found else plan.id

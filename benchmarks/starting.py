"""How soon a requester answers: the `neugrid` process on a devnet and a data directory that it has run on before.

Its keys are those that `neugrid init` makes, which take their time to open.
"""

import statistics
import time
from typing import Final

from msgspec.structs import replace

from benchmarks.goals import Taken
from benchmarks.running import a_cluster, start_time
from cli.cluster import Cluster
from node.config import load_config
from node.setup import init

ROUNDS: Final = 5
NAME: Final = "measured"


def measure() -> list[Taken]:
    """The median time from the start of the process to a 200 of `GET /v1/health`, in s."""
    with a_cluster(prices=()) as cluster:
        _move_in(cluster)
        times = [start_time(cluster, NAME, "/v1/health") for _ in range(ROUNDS)]
    return [Taken(statistics.median(times), f"n={ROUNDS}, {min(times):.1f} to {max(times):.1f} s; to GET /v1/health")]


def _move_in(cluster: Cluster) -> None:
    """A requester of our own takes the place of the cluster's, and has run once."""
    config = load_config(cluster.made["requester"].config)
    cluster.processes["requester"].terminate()
    cluster.processes["requester"].wait()
    cluster.made[NAME] = init(replace(config, data_dir=str(cluster.folder / NAME), name=NAME))
    cluster.start_node(NAME)
    cluster.contact(NAME)
    time.sleep(1.0)

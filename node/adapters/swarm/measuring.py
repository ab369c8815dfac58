"""Measures what a node can sell of a swarm, as the swarm's machines report it of themselves."""

from market.offers import Hardware
from market.resources import Resources
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.swarm.machines import SwarmMachine, machine_of, own_services, room


class SwarmCapacity:
    """The machines of one swarm as one `Machine`: measured anew again and again, for it changes with every task.

    What is measured is the share that is for sale already.
    """

    def __init__(self, engine: Engine, node: str, share: int = 1000) -> None:
        self._engine = engine
        self._node = node
        self._share = share

    async def measure(self) -> tuple[Resources, Hardware]:
        """The most that one more order can have, with what this node's services hold; no machine has a disk to sell."""
        return await self._engine.call(self._measure)

    def _measure(self, client: Client) -> tuple[Resources, Hardware]:
        machines = [machine_of(item) for item in client.nodes()]
        services = own_services(client.services(), self._node)
        amount = room(machines, client.tasks(), services, self._share)
        return amount, _hardware([machine for machine in machines if machine.is_open])


def _hardware(machines: list[SwarmMachine]) -> Hardware:
    """What all of them are: nobody measured how fast they are."""
    kinds = sorted({machine.architecture for machine in machines})
    gpus = tuple(gpu for machine in machines for gpu in machine.gpus)[:64]
    return Hardware(cpu_model=f"swarm of {len(machines)}: {', '.join(kinds)}"[:128] if machines else "", gpus=gpus)

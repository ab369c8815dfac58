"""A swarm as data: the profile of a task, how tasks end, and what its machines have left."""

from typing import Any

import pytest

from market.errors import InvalidParameters
from market.offers import Gpu
from market.units import Seconds
from node.adapters.docker_engine.logs import LineReader, Place
from node.adapters.docker_engine.profile import ImageFacts
from node.adapters.docker_engine.trial import Trial
from node.adapters.swarm.images import reference_of
from node.adapters.swarm.inspection import judge_machine, machines_finding, tier_finding
from node.adapters.swarm.machines import machine_of, own_services, room
from node.adapters.swarm.profile import NOWHERE, STOPPED_LABEL, escaped, service_request, stopped
from node.adapters.swarm.tasks import ENDED, Fate, Task, exit_of, first_task
from node.ports import ContainerSpec, Exit, Finding
from tests.builders import resources

GIB = 2**30


def a_request(avoid: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    given = {"command": ("true",), "env": {}, "resources": resources(), "timeout": Seconds(60), "isolation": "swarm"}
    spec = ContainerSpec(name="l-a1", lease="l", image="busybox", **given | changes)
    return service_request(spec, ImageFacts(id="sha256:1", volumes=("/data",)), "sha256:1", "node", avoid)


# --- the profile ---


def test_a_task_is_as_locked_down_as_a_service_can_be() -> None:
    request = a_request()
    task, container = request["TaskTemplate"], request["TaskTemplate"]["ContainerSpec"]
    assert container["CapabilityDrop"] == ["ALL"]
    assert container["ReadOnly"]
    assert container["Init"]
    user, _, group = container["User"].partition(":")
    assert user == group
    assert int(user) > 1000
    assert task["RestartPolicy"] == {"Condition": "none"}
    assert {mount["Type"] for mount in container["Mounts"]} == {"tmpfs"}
    assert [mount["Target"] for mount in container["Mounts"]] == ["/tmp", "/data"]
    assert "Networks" not in task


def test_what_a_task_may_have_is_kept_for_it() -> None:
    asked = a_request(resources=resources(gpus=2))["TaskTemplate"]["Resources"]
    assert asked["Limits"] == {"NanoCPUs": 10**9, "MemoryBytes": GIB, "Pids": 320}
    gpus = [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": 2}}]
    assert asked["Reservations"] == {"NanoCPUs": 10**9, "MemoryBytes": GIB, "GenericResources": gpus}


def test_only_machines_for_sale_are_asked_and_none_that_was_asked_in_vain() -> None:
    placement = a_request(avoid=("b", "a"))["TaskTemplate"]["Placement"]["Constraints"]
    assert placement == ["node.labels.neugrid.sells==true", "node.id!=a", "node.id!=b"]


@pytest.mark.parametrize("isolation", ["hardened", "gvisor", "gpu", ""])
def test_no_other_tier_is_run_in_a_swarm(isolation: str) -> None:
    with pytest.raises(InvalidParameters):
        a_request(isolation=isolation)


def test_a_service_that_has_to_end_has_no_machine_left_and_says_why() -> None:
    request = a_request()
    after = stopped(request, "timeout")
    assert after["TaskTemplate"]["Placement"]["Constraints"][-1] == NOWHERE
    assert after["Labels"] == {**request["Labels"], STOPPED_LABEL: "timeout"}
    assert request["TaskTemplate"]["Placement"]["Constraints"][-1] != NOWHERE


def test_templates_in_the_environment_stay_text() -> None:
    assert escaped("{{.Node.ID}} }} {{{{") == '{{"{{"}}.Node.ID}} }} {{"{{"}}{{"{{"}}'
    assert 'A={{"{{"}}x}}' in a_request(env={"A": "{{x}}"})["TaskTemplate"]["ContainerSpec"]["Env"]


def test_an_image_is_named_by_its_registrys_digest_or_else_by_its_id() -> None:
    assert reference_of({"Id": "sha256:1", "RepoDigests": ["r/b@sha256:2", "r/a@sha256:2"]}) == "r/a@sha256:2"
    assert reference_of({"Id": "sha256:1", "RepoDigests": []}) == "sha256:1"


# --- how tasks end ---


def a_task(state: str, **changes: Any) -> Task:
    given = {"machine": "m", "code": 0, "trouble": "", "at": 9_000, "created_at": 1_000, "has_container": True}
    return Task(id="t", state=state, **given | changes)


def the_end(task: Task, **known: Any) -> Exit:
    end = exit_of(task, Fate(**{"started_at": 2_000} | known))
    assert end is not None
    return end


@pytest.mark.parametrize(
    ("task", "known", "reason"),
    [
        (a_task("complete"), {}, "exited"),
        (a_task("failed", code=3), {}, "exited"),
        (a_task("failed", code=137), {}, "oom"),
        (a_task("failed", code=137), {"machine_changed_at": 1_500}, "oom"),
        (a_task("failed", code=137), {"machine_changed_at": 9_100}, "engine"),
        (a_task("failed", code=143), {}, "exited"),
        (a_task("failed", code=143), {"machine_changed_at": 8_000}, "engine"),
        (a_task("failed", code=3), {"machine_changed_at": 9_100}, "exited"),
        (a_task("complete"), {"asked": "killed"}, "exited"),
        (a_task("shutdown"), {"asked": "killed"}, "killed"),
        (a_task("shutdown", code=137), {"asked": "timeout"}, "timeout"),
        (a_task("shutdown", code=137), {}, "engine"),
        (a_task("rejected", has_container=False), {}, "engine"),
        (a_task("orphaned"), {"asked": "killed"}, "engine"),
        (a_task("running"), {"is_lost": True}, "engine"),
    ],
)
def test_the_end_of_a_task_has_its_cause(task: Task, known: dict[str, Any], reason: str) -> None:
    end = the_end(task, **known)
    assert end.reason == reason
    assert end.started_at <= end.finished_at


def test_a_task_that_runs_has_no_end() -> None:
    assert exit_of(a_task("running"), Fate(asked="killed", timeout=1)) is None
    assert not set(ENDED) & {"new", "pending", "assigned", "preparing", "ready", "starting", "running"}


def test_a_task_whose_start_nobody_saw_began_when_it_was_made() -> None:
    assert the_end(a_task("complete"), started_at=0).started_at == 1_000
    assert the_end(a_task("complete", at=500)).finished_at == 2_000


def raw_task(id: str, second: int, **changes: Any) -> dict[str, Any]:
    at = f"2025-06-15T15:06:{second:02}.000000000Z"
    given = {
        "ServiceID": "s",
        "NodeID": "w",
        "DesiredState": "running",
        "Status": {"State": "running", "Timestamp": at},
    }
    return {"ID": id, "CreatedAt": at, **given, **changes}


def test_the_replacement_of_a_stopped_task_is_not_the_task() -> None:
    waiting = raw_task("b", 2, Status={"State": "pending", "Timestamp": "2025-06-15T15:06:02Z"})
    task = first_task([waiting, raw_task("a", 1)])
    assert task is not None
    assert (task.id, task.state) == ("a", "running")
    assert first_task([]) is None


def test_a_relayed_log_that_breaks_is_no_output() -> None:
    said = b"Error grabbing logs: node w is not available\n"
    frame = bytes([3, 0, 0, 0]) + len(said).to_bytes(4, "big") + said
    with pytest.raises(Exception, match="not available"):
        LineReader(Place(), 2**20).feed(frame)


# --- machines ---


def a_machine(id: str, cores: int, gpus: int = 0, state: str = "ready", **labels: str) -> dict[str, Any]:
    named = [{"NamedResourceSpec": {"Kind": "GPU", "Value": f"GPU-{number}"}} for number in range(gpus)]
    amount = {"NanoCPUs": cores * 10**9, "MemoryBytes": cores * GIB, "GenericResources": named}
    return {
        "ID": id,
        "UpdatedAt": "2025-06-15T15:06:00Z",
        "Spec": {"Labels": {"neugrid.sells": "true", **labels}, "Availability": "active"},
        "Status": {"State": state},
        "Description": {"Hostname": id, "Resources": amount, "Platform": {"Architecture": "x86_64"}},
    }


def holding(machine: str, cores: int, service: str = "s", gpus: int = 0, **changes: Any) -> dict[str, Any]:
    generic = [{"DiscreteResourceSpec": {"Kind": "GPU", "Value": gpus}}] if gpus else []
    asked = {"NanoCPUs": cores * 10**9, "MemoryBytes": cores * GIB, "GenericResources": generic}
    spec = {"Resources": {"Reservations": asked}}
    return raw_task("t", 1, NodeID=machine, ServiceID=service, Spec=spec, **changes)


def cores_for_sale(machines: list[dict[str, Any]], tasks: list[dict[str, Any]], share: int = 1000) -> int:
    return room(map(machine_of, machines), tasks, frozenset({"s"}), share).cpu // 1000


def test_an_order_has_to_fit_on_one_machine() -> None:
    assert cores_for_sale([a_machine("a", 4), a_machine("b", 8)], []) == 8


def test_what_the_node_holds_is_added_so_that_its_leases_can_be_taken_off() -> None:
    machines = [a_machine("a", 4), a_machine("b", 8)]
    assert cores_for_sale(machines, [holding("b", 6)]) == 4 + 6
    assert cores_for_sale(machines, [holding("b", 6), holding("a", 3)]) == 2 + 9


def test_what_others_hold_in_the_swarm_is_not_there() -> None:
    assert cores_for_sale([a_machine("b", 8)], [holding("b", 6, service="another")]) == 2


@pytest.mark.parametrize(
    "changes",
    [{"DesiredState": "shutdown"}, {"NodeID": "gone"}, {"Status": {"State": "complete", "Timestamp": ""}}],
    ids=["ends", "lost", "ended"],
)
def test_what_ends_or_is_lost_does_not_count_as_held(changes: dict[str, Any]) -> None:
    task = holding("b", 6) | changes
    expected = 2 if changes.get("DesiredState") else 8
    assert cores_for_sale([a_machine("b", 8), a_machine("gone", 16, state="down")], [task]) == expected


def test_a_machine_that_is_away_or_not_for_sale_is_not_sold() -> None:
    private = a_machine("a", 64)
    private["Spec"]["Labels"] = {}
    drained = a_machine("d", 64)
    drained["Spec"]["Availability"] = "drain"
    machines = [private, drained, a_machine("c", 64, state="down")]
    assert cores_for_sale(machines, []) == 0
    assert cores_for_sale([*machines, a_machine("b", 2)], []) == 2


def test_a_share_is_of_every_machine() -> None:
    assert cores_for_sale([a_machine("b", 8)], [holding("b", 3)], share=500) == 1 + 3


def test_gpus_are_sold_where_the_operator_says_what_they_are() -> None:
    labels = {"neugrid.gpu.model": "nvidia-a100", "neugrid.gpu.vram": str(80 * GIB)}
    machines = [machine_of(a_machine("a", 64)), machine_of(a_machine("b", 4, gpus=3, **labels))]
    found = room(machines, [holding("b", 1, gpus=1)], frozenset())
    assert (found.gpus, found.gpu_model, found.vram) == (2, "nvidia-a100", 80 * GIB)
    assert machines[1].gpus[0] == Gpu(model="nvidia-a100", uuid="GPU-0", vram=80 * GIB)
    assert machine_of(a_machine("c", 4, gpus=3)).has.gpus == 0


def test_the_services_of_a_node_are_known_by_their_label() -> None:
    services = [{"ID": str(n), "Spec": {"Labels": {"neugrid.node": n}}} for n in ("one", "two")]
    assert own_services([*services, {"ID": "three", "Spec": {"Labels": None}}], "one") == frozenset({"one"})


# --- the verdicts ---

GOOD = (
    "link lo",
    *(f"status {name}:\t0000000000000000" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
    "status NoNewPrivs:\t1",
    "status Seccomp:\t2",
    "mount overlay / overlay ro,relatime 0 0",
    "uid 65532",
    "processes 300",
)


def verdict(*lines: str, code: int = 137) -> Finding:
    return judge_machine("m1", Trial(lines=lines, inspected={}), a_task("failed", code=code))


def test_a_machine_that_holds_what_the_tier_says_is_fit() -> None:
    assert verdict(*GOOD).status == "ok"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("status CapBnd:\t0000000000000000", "status CapBnd:\t00000000a80425fb", "capabilities"),
        ("status NoNewPrivs:\t1", "status NoNewPrivs:\t0", '"no-new-privileges": true'),
        ("status Seccomp:\t2", "status Seccomp:\t0", "unfiltered"),
        ("uid 65532", "uid 0", "root"),
        ("mount overlay / overlay ro,relatime 0 0", "mount overlay / overlay rw,relatime 0 0", "writable places /"),
        ("link lo", "link eth0", '"bridge": "none"'),
        ("processes 300", "processes 1000", "1000 processes"),
    ],
)
def test_a_machine_that_gives_more_is_not_and_the_cure_is_said(old: str, new: str, said: str) -> None:
    found = verdict(*(new if line == old else line for line in GOOD))
    assert found.status == "failed"
    assert said in found.message


def test_a_machine_without_a_memory_limit_is_not_fit() -> None:
    assert "more memory" in verdict(*GOOD, code=0).message


def test_the_tier_needs_every_machine_and_no_other_name() -> None:
    ok, bad = verdict(*GOOD), verdict()
    assert tier_finding("swarm", [ok, ok]).status == "ok"
    assert tier_finding("swarm", [ok, bad]).status == "failed"
    assert tier_finding("swarm", []).status == "failed"
    assert tier_finding("hardened", [ok]).status == "failed"


def test_a_swarm_without_machines_for_sale_is_not_fit() -> None:
    here, away = machine_of(a_machine("a", 1)), machine_of(a_machine("b", 1, state="down"))
    assert machines_finding([here]).status == "ok"
    assert machines_finding([here, away]).status == "warning"
    assert machines_finding([away]).status == machines_finding([]).status == "failed"

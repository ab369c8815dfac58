"""How a container ended, from what the engine reports."""

from pathlib import Path

import pytest

from market.units import Timestamp
from node.adapters.docker_engine.exits import RESTORING, Sight, Testimony, exit_of, has_ended, may_be_oom, timestamp_of
from node.adapters.docker_engine.health import health_of
from node.adapters.docker_engine.witness import Witness, shortage
from node.ports import Exit

START = "2025-06-15T15:06:40.123456789Z"


def a_state(**changes: object) -> dict[str, object]:
    """A container that ran for ten seconds and exited with 0."""
    state = {"Status": "exited", "ExitCode": 0, "OOMKilled": False, "StartedAt": START}
    return state | {"FinishedAt": "2025-06-15T15:06:50.123456789Z"} | changes


def reason(
    timeout: int = 60,
    asked: str = "",
    had_oom: bool = False,
    seen: Sight = Sight.PARTIAL,
    booted: int = 0,
    **changes: object,
) -> str:
    end = exit_of(a_state(**changes), timeout, asked, had_oom, Testimony(sight=seen, booted=booted))
    assert end is not None
    return end.reason


def test_a_running_container_has_no_end() -> None:
    assert exit_of(a_state(Status="running"), 60) is None


def test_an_end_carries_the_engines_times_in_milliseconds() -> None:
    end = exit_of(a_state(ExitCode=3), 60)
    assert end is not None
    assert (end.code, end.reason, end.started_at, end.finished_at) == (3, "exited", 1750000000123, 1750000010123)


@pytest.mark.parametrize("code", [137, 143])
def test_a_kill_that_nobody_asked_for_is_the_engines_fault(code: int) -> None:
    assert reason(ExitCode=code) == "engine"


@pytest.mark.parametrize("code", [137, 143])
def test_a_kill_whose_every_moment_was_seen_can_only_have_come_from_inside(code: int) -> None:
    assert reason(ExitCode=code, seen=Sight.WHOLE) == "exited"
    assert reason(ExitCode=code, seen=Sight.BROKEN) == "engine"


def test_the_code_of_a_lost_container_is_the_programs_own_only_where_the_engine_was_seen_all_the_time() -> None:
    assert reason(ExitCode=255, seen=Sight.WHOLE) == "exited"
    assert reason(ExitCode=255) == "engine"
    assert reason(ExitCode=255, seen=Sight.BROKEN) == "engine"


@pytest.mark.parametrize("code", [0, 1, 255])
def test_nothing_lives_through_a_start_of_the_machine(code: int) -> None:
    assert reason(ExitCode=code, booted=1750000005000) == "engine"
    assert reason(ExitCode=code, seen=Sight.WHOLE, booted=1750000000000) == "exited", "booted before it began"
    assert reason(ExitCode=code, seen=Sight.WHOLE, booted=1750000020000) == "exited", "it had ended before"


@pytest.fixture
def kills(tmp_path: Path) -> Path:
    file = tmp_path / "vmstat"
    file.write_text("pgfault 7\nallocstall_dma 1\nallocstall_normal 4\noom_kill 3\n")
    return file


def test_a_life_under_one_unbroken_stream_is_seen_whole(kills: Path) -> None:
    witness = Witness(kills)
    witness.connected()
    witness.starting("a")
    assert witness.testimony("a") is Sight.WHOLE


def test_what_was_not_seen_from_its_start_is_seen_in_part(kills: Path) -> None:
    witness = Witness(kills)
    witness.starting("early")
    witness.connected()
    assert witness.testimony("early") is Sight.PARTIAL
    assert witness.testimony("of an earlier life") is Sight.PARTIAL


def test_a_broken_stream_stays_a_doubt_when_it_stands_again(kills: Path) -> None:
    witness = Witness(kills)
    witness.connected()
    witness.starting("a")
    witness.disconnected()
    witness.connected()
    assert witness.testimony("a") is Sight.BROKEN
    witness.starting("a")
    assert witness.testimony("a") is Sight.WHOLE


def test_an_order_to_kill_is_a_doubt(kills: Path) -> None:
    witness = Witness(kills)
    witness.connected()
    witness.starting("a")
    witness.starting("b")
    witness.killed("a")
    assert [witness.testimony(name) for name in "ab"] == [Sight.PARTIAL, Sight.WHOLE]


def test_a_machine_that_runs_out_of_memory_is_a_doubt_and_a_neighbour_at_its_limit_is_none(kills: Path) -> None:
    witness = Witness(kills)
    witness.connected()
    witness.starting("a")
    kills.write_text("allocstall_normal 5\noom_kill 4\n")
    assert witness.testimony("a") is Sight.WHOLE, "the neighbour's"
    kills.write_text("allocstall_normal 6\noom_kill 4\n")
    assert witness.testimony("a") is Sight.PARTIAL, "the machine's"


def test_a_memory_kill_anywhere_on_the_machine_is_seen_by_all_that_ran_then(kills: Path) -> None:
    witness = Witness(kills)
    witness.starting("a")
    assert not witness.saw_memory_kills("a")
    kills.write_text("oom_kill 4\n")
    witness.starting("b")
    assert [witness.saw_memory_kills(name) for name in ("a", "b", "of an earlier life")] == [True, False, False]


def test_a_kernel_that_counts_no_memory_kills_is_no_doubt(tmp_path: Path) -> None:
    assert shortage(tmp_path / "none") == (0, 0)


def test_a_kill_at_the_deadline_is_a_timeout_even_for_a_node_that_did_not_send_it() -> None:
    assert reason(timeout=10, ExitCode=137) == "timeout"


def test_what_has_no_time_limit_never_ran_out_of_time() -> None:
    assert reason(timeout=0, ExitCode=137) == "engine"
    assert reason(timeout=0, ExitCode=0) == "exited"


def test_a_program_that_ends_by_itself_at_the_deadline_has_exited() -> None:
    assert reason(timeout=10, asked="timeout", ExitCode=0) == "exited"


def test_a_memory_kill_of_a_child_is_never_success() -> None:
    assert reason(ExitCode=0, OOMKilled=True) == "oom"
    assert reason(ExitCode=0, had_oom=True) == "oom"


def test_what_we_stopped_was_killed_whatever_its_code() -> None:
    assert reason(asked="killed", ExitCode=0) == "killed"
    assert reason(asked="killed", ExitCode=137, OOMKilled=True) == "killed"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown', "exited"),
        ('unable to start container process: exec: "/nosuch": stat /nosuch: no such file or directory', "exited"),
        ('chdir to cwd ("/root") set in config.json failed: permission denied', "exited"),
        ("open /run/containerd/io.containerd.runtime.v2.task/moby/67/init.pid: no such file or directory", "engine"),
        ("dial unix /run/containerd/containerd.sock: connect: no such file or directory", "engine"),
        ("", "engine"),
    ],
)
def test_a_command_that_can_not_be_run_has_ended_without_running(said: str, why: str) -> None:
    """An engine on its way out misses files of its own, and leaves the code of a command that is missing behind."""
    state = a_state(Status="created", ExitCode=127, StartedAt="0001-01-01T00:00:00Z", Error=said)
    assert has_ended(state)
    assert reason(**state) == why


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (Testimony(revived=1750000010000), "engine"),
        (Testimony(revived=1750000010000, sight=Sight.BROKEN), "engine"),
        (Testimony(sight=Sight.BROKEN), "engine"),
        (Testimony(revived=1750000010000, saw_end=True), "exited"),
        (Testimony(revived=1750000010000, sight=Sight.WHOLE), "exited"),
        (Testimony(revived=1750000011000, sight=Sight.BROKEN), "exited"),
        (Testimony(revived=1750000000000), "exited"),
        (Testimony(revived=1750000010122 - RESTORING), "exited"),
        (Testimony(), "exited"),
    ],
)
def test_an_end_with_0_that_only_a_new_engine_knows_of_may_be_made_up(told: Testimony, why: str) -> None:
    """An engine that is killed between an end and the note of it writes 0 down when it is back."""
    end = exit_of(a_state(), 60, told=told)
    assert end is not None
    assert end.reason == why
    failed = exit_of(a_state(ExitCode=3), 60, told=told)
    assert failed is not None
    assert failed.reason == "exited", "no other code is made up"


def test_a_start_that_came_to_nothing_with_the_engine_is_the_engines_fault() -> None:
    never = "0001-01-01T00:00:00Z"
    assert reason(Status="dead", ExitCode=128, StartedAt=never, FinishedAt=never) == "engine"
    assert reason(ExitCode=128) == "exited"


def test_a_container_that_waits_to_be_started_has_not_ended() -> None:
    assert not has_ended(a_state(Status="created", ExitCode=0))


def test_an_end_is_never_before_its_start() -> None:
    end = exit_of(a_state(FinishedAt="2025-06-15T15:06:40.122Z"), 60)
    assert end is not None
    assert end.finished_at == end.started_at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (START, 1750000000123),
        ("2025-06-15T15:06:40Z", 1750000000000),
        ("2025-06-15T17:06:40.5+02:00", 1750000000500),
        ("0001-01-01T00:00:00Z", 0),
    ],
)
def test_the_engines_times_are_read_in_every_form(text: str, expected: int) -> None:
    assert timestamp_of(text) == expected


def an_engine(**changes: object) -> dict[str, object]:
    limits = {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True, "CgroupDriver": "systemd"}
    return limits | {"OSType": "linux", "ServerVersion": "28.5", "SecurityOptions": ["name=seccomp"]} | changes


def test_an_engine_with_every_limit_is_fit() -> None:
    assert health_of(an_engine()).is_ok


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        ({"CgroupDriver": "none", "MemoryLimit": False}, "no control groups"),
        ({"MemoryLimit": False}, "memory"),
        ({"PidsLimit": False}, "process"),
        ({"SecurityOptions": ["name=apparmor"]}, "seccomp"),
        ({"OSType": "windows"}, "windows"),
    ],
)
def test_an_engine_that_would_apply_no_limits_is_refused_with_the_reason(lack: dict[str, object], said: str) -> None:
    health = health_of(an_engine(**lack))
    assert not health.is_ok
    assert said in health.reason


@pytest.mark.parametrize(
    ("reason", "code", "saw_kills", "may_be"),
    [
        ("engine", 255, False, True),
        ("exited", 137, False, True),
        ("exited", 1, False, False),
        ("exited", 0, False, False),
        ("exited", 0, True, True),
        ("killed", 137, True, False),
        ("timeout", 137, True, False),
    ],
)
def test_only_a_kill_that_nobody_asked_for_may_turn_out_to_be_one_for_memory(
    reason: str, code: int, saw_kills: bool, may_be: bool
) -> None:
    end = Exit(code=code, reason=reason, started_at=Timestamp(1), finished_at=Timestamp(2))
    assert may_be_oom(end, saw_kills) is may_be

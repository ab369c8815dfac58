"""A short part of the corpus on the shared engine: one of each kind that is quick. `make attacks` plays all of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.attacks import stages
from tests.attacks.attack import TIERS, Attack, Result, alone, judged, shares, together
from tests.attacks.corpus import ATTACKS, SCENES, attacks_of, play, scenes_of
from tests.attacks.host import Host, look
from tests.attacks.stages import Stage
from tests.node.adapters.engines import a_node, nothing_left

LEAST = 60
FLOODS = ("fork-bomb", "memory-bomb-in-a-child", "zombies", "fill-tmp", "deleted-and-open", "kill-all-there-are")
QUICK = (
    "output-link-up", "image-workdir-of-the-kernel", "image-volume-proc", "watches", "requests-of-files",
    "volume-in-two-containers", "files-left", "queues-left", "nonce-in-memory", "a-result-of-ones-own",
)  # fmt: skip


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["batch", "service", "code"])
async def stage(engine: None, images: None, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    node, folder = a_node(), tmp_path / "volumes"
    with nothing_left(node, folder):
        if request.param == "code":
            async with stages.code(node) as code:
                yield code
        else:
            async with stages.workloads(request.param, node, folder) as workloads:
                yield workloads


@pytest.mark.anyio
@pytest.mark.docker
@pytest.mark.timeout(600)
async def test_a_short_part_of_the_corpus_escapes_nowhere_and_ends_as_it_should(stage: Stage, tmp_path: Path) -> None:
    quiet = [attack for attack in attacks_of(stage.tier) if attack.is_quiet]
    before = look(tmp_path, trees=("/etc",))
    results = await play(stage, [*quiet, *attacks_of(stage.tier, FLOODS)], scenes_of(stage.tier, QUICK))
    assert [(result.id, result.escapes) for result in results if result.escapes] == []
    assert [(result.id, result.end) for result in results if not result.is_right] == []
    assert len(results) >= LEAST
    changes = before.changes(look(tmp_path, trees=("/etc",)))
    assert [line for line in changes if line[2:].startswith(("files", "loop", "settings", "processes"))] == []


# --- the corpus itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", TIERS)
def test_every_tier_has_attacks_enough_and_each_has_its_own_name(tier: str) -> None:
    ids = [one.id for one in (*attacks_of(tier), *scenes_of(tier))]
    assert len(ids) >= LEAST
    assert len(ids) == len(set(ids))


def test_the_short_part_names_what_there_is() -> None:
    assert {*FLOODS, *QUICK} <= {one.id for one in (*ATTACKS, *SCENES)}


def test_every_program_can_be_read() -> None:
    for attack in ATTACKS:
        compile(alone(attack), attack.id, "exec")
    compile(together(ATTACKS), "together", "exec")


def an_attack(**changes: object) -> Attack:
    return Attack(**{"id": "x", "group": "g", "program": "pass", **changes})  # type: ignore[arg-type]


def told(tier: str, end: str, *lines: str, **changes: object) -> Result:
    return judged(an_attack(**changes), tier, end, lines)


def test_what_succeeds_is_an_escape_unless_the_kernel_is_the_sandboxes_own() -> None:
    assert told("batch", "exited", "ESCAPED mount", "tried").escapes == ("ESCAPED mount",)
    assert told("gvisor", "exited", "ESCAPED mount", "tried", emulated=("gvisor",)).escapes == ()


def test_a_program_that_broke_or_ended_otherwise_is_a_wrong_end() -> None:
    assert told("batch", "exited", "tried").is_right
    assert not told("batch", "exited").is_right
    assert not told("batch", "oom", "tried").is_right
    assert told("code", "MLE", code_ends=("MLE",), is_heard=False).is_right


def test_what_is_said_together_belongs_to_each() -> None:
    assert shares(["BEGIN a", "ESCAPED x", "tried", "BEGIN b", "tried"]) == {
        "a": ["ESCAPED x", "tried"],
        "b": ["tried"],
    }


def test_a_changed_host_is_seen() -> None:
    before = Host({"files": frozenset({"/etc/passwd 1", "/etc/x 1"})})
    after = Host({"files": frozenset({"/etc/passwd 2", "/etc/x 1"})})
    assert before.changes(after) == ["- files: /etc/passwd 1", "+ files: /etc/passwd 2"]
    assert before.digest != after.digest

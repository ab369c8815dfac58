"""What every `Sandboxes` does, the fake and the real one alike."""

import pytest

from market.errors import NotFound
from node.adapters.sandboxes.docker import DockerSandboxes
from node.ports import CodeRun, Sandboxes
from tests.fakes import FakeSandboxes
from tests.node.adapters.sandboxes.code import ECHO, some_code

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
def any_sandboxes(request: pytest.FixtureRequest) -> Sandboxes:
    if request.param == "fake":
        return FakeSandboxes("python", "cpp")
    real: DockerSandboxes = request.getfixturevalue("sandboxes")
    return real


async def test_there_is_a_run_for_each_input_in_order(any_sandboxes: Sandboxes) -> None:
    found = await any_sandboxes.run(some_code("python", ECHO["python"], "a", "b"))
    assert [(run.stdout, run.error, run.exit_code) for run in found.runs] == [
        ("hello a\n", "", 0),
        ("hello b\n", "", 0),
    ]


async def test_what_is_offered_can_be_run_by_name_and_alias(any_sandboxes: Sandboxes) -> None:
    (python,) = [language for language in await any_sandboxes.languages() if language.name == "python"]
    assert python.version
    for word in (python.name, *python.aliases):
        found = await any_sandboxes.run(some_code(word, ECHO["python"], "x"))
        assert found.runs[0].stdout == "hello x\n"


async def test_an_unknown_language_is_not_found(any_sandboxes: Sandboxes) -> None:
    with pytest.raises(NotFound):
        await any_sandboxes.run(some_code("cobol", ""))


async def test_a_compilation_that_fails_is_the_only_run(any_sandboxes: Sandboxes) -> None:
    if isinstance(any_sandboxes, FakeSandboxes):
        any_sandboxes.programs["cpp"] = lambda code, stdin: CodeRun(exit_code=1, error="CompilationError")
    found = await any_sandboxes.run(some_code("cpp", "int main( {", "a", "b"))
    assert [run.error for run in found.runs] == ["CompilationError"]

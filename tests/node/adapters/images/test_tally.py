"""How far a pull is, from the engine's words."""

import pytest

from market.errors import ImageRefused
from node.adapters.docker_engine.pulls import Tally
from node.adapters.images.registry import Resolved
from node.ports import PullProgress

A, B = "a" * 12, "b" * 12
RESOLVED = Resolved(pinned="r/x@sha256:0", config="c", sizes={f"sha256:{'a' * 64}": 100, f"sha256:{'b' * 64}": 50})


def test_bytes_are_counted_by_layer_and_told_when_they_change() -> None:
    told: list[PullProgress] = []
    tally = Tally("r/x:1", RESOLVED, told.append)
    for item in (
        {"status": "Pulling from x", "id": "1"},
        {"status": "Pulling fs layer", "id": A},
        {"status": "Downloading", "id": A, "progressDetail": {"current": 30, "total": 100}},
        {"status": "Waiting", "id": B, "progressDetail": {}},
        {"status": "Already exists", "id": B},
        {"status": "Extracting", "id": A, "progressDetail": {"current": 500, "total": 900}},
        {"status": "Pull complete", "id": A},
        {"status": "Status: done"},
    ):
        tally.take(item)
    assert [item.done for item in told] == [30, 80, 150]
    assert tally.progress == PullProgress(reference="r/x:1", done=150, total=150)


@pytest.mark.parametrize("detail", [{"current": 101}, {"current": 1, "total": 101}])
def test_a_layer_that_is_larger_than_promised_is_refused(detail: dict[str, int]) -> None:
    with pytest.raises(ImageRefused):
        Tally("r/x:1", RESOLVED, lambda _: None).take({"status": "Downloading", "id": A, "progressDetail": detail})

"""What ships is what the sources say."""

import pytest

from contracts.artifacts import load
from contracts.compile import NAMES, compile_contract
from tests.contracts.mutants import MUTANTS, Mutant, is_killed

QUICK = [
    mutant for mutant in MUTANTS if mutant.name in ("a claim is not capped by the deposit", "fees are swept twice")
]


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_artifact_is_fresh(name: str) -> None:
    assert load(name) == compile_contract(name), "run `make contracts`"


@pytest.mark.parametrize("mutant", QUICK, ids=[mutant.name for mutant in QUICK])
def test_the_property_test_kills_a_planted_bug(mutant: Mutant) -> None:
    assert is_killed(mutant, examples=100)

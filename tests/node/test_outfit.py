"""What a provider sells by its settings."""

import pytest

from node.config import ProviderSettings
from node.outfit import sells_code


@pytest.mark.parametrize(
    ("languages", "isolation", "sells"),
    [(("python",), "hardened", True), ((), "hardened", False), (("python",), "gvisor", False)],
)
def test_code_runs_under_no_weaker_tier_than_is_sold(languages: tuple[str, ...], isolation: str, sells: bool) -> None:
    assert sells_code(ProviderSettings(languages=languages, isolation=isolation)) is sells  # type: ignore[arg-type]

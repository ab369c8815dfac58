"""The name of a GPU model, whatever spelling a driver, a provider or a requester has for it."""

import re
from functools import lru_cache
from typing import Final

_VENDORS: Final = ("nvidia", "amd", "intel")
_BRANDS: Final = frozenset(("geforce", "tesla"))
"""Lines of products whose models are told apart without them; Quadro and RTX are not of these."""
_BUILD: Final = re.compile(
    r"\d+gb?|sxm\d*|pcie|nvl\d*|hbm\d*e?|dgxs|fhhl|ls|ac|gpu|generation|with|design|server|workstation|edition"
)
"""How the card is built, and its memory, which is a constraint of its own."""
_WORD: Final = re.compile(r"[a-z0-9]+(?:\.[a-z0-9]+)*")
_GLUED: Final = re.compile(r"(?<=\b[rg]tx)(?=\d)|(?<=\d)(?=(?:ti|super)\b)")


@lru_cache(maxsize=4096)
def gpu_model(name: str) -> str:
    """The model that the name means: "NVIDIA A100-SXM4-80GB", "A100" and "nvidia-a100" are all "nvidia-a100".

    A part of a card (MIG, vGPU) and a laptop's are models of their own. "" stays "", which is any model.
    """
    words = _WORD.findall(_GLUED.sub(" ", name.lower()))
    kept = [word for word in words if word not in _BRANDS and not _BUILD.fullmatch(word)]
    if not name or kept[:1] == ["unknown"]:
        return "-".join(kept)
    return "-".join(kept if kept and kept[0] in _VENDORS else ["nvidia", *kept])

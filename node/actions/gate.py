"""May this machine be sold? What the inspector found, less what the operator took upon itself by name."""

from collections.abc import Sequence

from msgspec.structs import replace

from market.errors import NeugridError
from node.ports.inspection import RISKS, Finding, Inspector


class Gate:
    """Shut until the first look; a gate without inspector (a world of fakes) is open."""

    def __init__(self, inspector: Inspector | None = None, accepted: Sequence[str] = ()) -> None:
        self._inspector = inspector
        self._accepted = tuple(accepted)
        self.findings: tuple[Finding, ...] = ()
        self._unknown = "" if inspector is None else "inspection: not done yet"
        """Why nothing is known, as long as nothing is."""

    async def look(self) -> bool:
        """Look the machine over; False, and what was known stays, while that can not be done."""
        if self._inspector is None:
            return True
        try:
            self.findings, self._unknown = await self._inspector.inspect(), ""
        except NeugridError as error:
            self._unknown = self._unknown and f"inspection: {error.message}"
            return False
        return True

    @property
    def is_open(self) -> bool:
        """Whether the machine may be sold."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nothing is sold."""
        if self._unknown:
            return (self._unknown,)
        return tuple(f"{item.check}: {item.message}" for item in refusals(self.findings, self._accepted))

    @property
    def risks(self) -> tuple[str, ...]:
        """What is below the floor and sold all the same, by name: offers say so."""
        return risks(self.findings, self._accepted)


def refusals(findings: Sequence[Finding], accepted: Sequence[str]) -> tuple[Finding, ...]:
    """The failures that nobody took upon itself, or may."""
    taken = set(accepted) & set(RISKS)
    return tuple(item for item in findings if item.status == "failed" and item.check not in taken)


def risks(findings: Sequence[Finding], accepted: Sequence[str]) -> tuple[str, ...]:
    """The accepted names that are really below the floor now, each once; a name accepted in vain is no risk."""
    failed = {item.check for item in findings if item.status == "failed"}
    return tuple(name for name in RISKS if name in accepted and name in failed)


def weighed(findings: Sequence[Finding], accepted: Sequence[str]) -> tuple[Finding, ...]:
    """The findings as the operator sees them: what it accepted only warns, and says that the offers tell."""
    taken = risks(findings, accepted)
    told = "accepted, and told in every offer"
    return tuple(
        replace(item, status="warning", message=f"{item.message} ({told})")
        if item.status == "failed" and item.check in taken
        else item
        for item in findings
    )

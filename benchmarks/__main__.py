"""`python -m benchmarks [NAME...]`: measure, print one table, and write build/bench.json."""

import importlib
import sys
import time
import traceback
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.goals import GOALS, Figure, Taken

RESULT: Final = Path("build/bench.json")


def main(names: list[str]) -> int:
    """Measure what is named, or everything; a missed goal is a result and no error, a wrong name is one."""
    unknown = [name for name in names if name not in GOALS]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(GOALS)}", file=sys.stderr)
        return 2
    figures = [figure for name in names or GOALS for figure in measured(name)]
    _print(figures)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    return 0


def measured(name: str) -> list[Figure]:
    """The figures of one benchmark; when it can not run here, its goals with the reason."""
    goals, begun = GOALS[name], time.monotonic()
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    try:
        taken: list[Taken] = importlib.import_module(f"benchmarks.{name}").measure()
        figures = [goal.reached(one.value, one.remark) for goal, one in zip(goals, taken, strict=True)]
    except Exception as error:  # noqa: BLE001  whatever it is, the table shows it
        traceback.print_exc()
        figures = [goal.missing(f"not measured: {type(error).__name__}: {error}"[:300]) for goal in goals]
    print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
    return figures


def _print(figures: list[Figure]) -> None:
    goals = {goal.name: goal for group in GOALS.values() for goal in group}
    table = Table("what", "measured", "goal", "unit", "met", "remark")
    for figure in figures:
        value = "-" if figure.measured is None else _shown(figure.measured)
        goal = goals[figure.name]
        word = "" if goal.limit is None else "yes" if figure.met else "[bold red]missed[/]"
        table.add_row(figure.name, value, goal.text, figure.unit, word, figure.remark)
    is_terminal = sys.stdout.isatty()
    Console(width=None if is_terminal else 160).print(table)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

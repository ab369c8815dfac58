"""Fail on files over 350 lines, functions over 40, and print the medians that the style asks for."""

import ast
import statistics
import sys
from pathlib import Path

FOLDERS = ("market", "contracts", "node", "cli", "sdk/python")
MAX_FILE, MAX_FUNCTION = 350, 40


def functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f"{path}:{n.lineno} {n.name}", n.end_lineno - n.lineno + 1) for n in ast.walk(tree) if isinstance(n, kinds)
    ]


def main() -> int:
    files = sorted(path for folder in FOLDERS for path in Path(folder).rglob("*.py"))
    lines = {path: len(path.read_text().splitlines()) for path in files}
    found = [item for path in files for item in functions(path)]
    bad = [f"{path}: {count} lines, at most {MAX_FILE}" for path, count in lines.items() if count > MAX_FILE]
    bad += [f"{name}: {count} lines, at most {MAX_FUNCTION}" for name, count in found if count > MAX_FUNCTION]
    sizes, counts = sorted(count for _, count in found), sorted(lines.values())
    print(
        f"{len(files)} files, p90 {counts[int(len(counts) * 0.9)]} lines; {len(sizes)} functions, "
        f"median {statistics.median(sizes):.0f}, p90 {sizes[int(len(sizes) * 0.9)]} lines"
    )
    print("\n".join(bad) or "sizes ok")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

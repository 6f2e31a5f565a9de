"""The house's floors, and every import between them: `python -m docs.imports` writes the table in architecture.md.

A floor may import the ones below it. What one floor starts of another as a process (``python -m deploy.gateway``) is an
edge as well, and so is a module that is imported by its name in a text.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from components.code import imports

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
FLOORS = ("core", "components", "registry", "deploy", "flows", "cli")  # from the ground up
ALLOWED = {
    "core": set(),
    "components": {"core"},
    "registry": {"core"},
    "deploy": {"core", "components", "registry"},
    "flows": {"core", "components", "registry", "deploy"},
    "cli": {"core", "components", "registry", "deploy", "flows"},
}
BEGIN, END = "<!-- imports: written by `python -m docs.imports` -->\n", "<!-- end of imports -->\n"
Edge = tuple[str, str, str, str]  # floor, floor, file, module


def imported() -> Iterator[Edge]:
    """Every import of one floor's module by another floor's file."""
    for floor in FLOORS:
        for file in files(floor):
            for module in sorted({name for name in imports(file) if name.split(".")[0] in FLOORS}):
                if (other := module.split(".")[0]) != floor:
                    yield floor, other, file.relative_to(ROOT).as_posix(), module


def named() -> Iterator[Edge]:
    """Every text in a floor's file that is the name of another floor's module: what it starts as a process."""
    for floor in FLOORS:
        for file in files(floor):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_module(node.value):
                    if (other := node.value.split(".")[0]) != floor:
                        yield floor, other, file.relative_to(ROOT).as_posix(), node.value


def circles() -> list[str]:
    """Files that import each other, at any depth of nesting, as ``a -> b -> a``."""
    graph = {_module(file): _modules(file) for floor in FLOORS for file in files(floor)}
    found, done = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for other in sorted(graph[module] & set(graph)):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def table() -> str:
    """The edges between floors as a table in markdown: rows import columns, or start their programs."""
    edges = {(floor, other) for floor, other, _, _ in imported()}
    started = {(floor, other) for floor, other, _, _ in named()}
    lines = ["| |" + "".join(f" `{floor}` |" for floor in FLOORS)]
    lines.append("|---|" + "---|" * len(FLOORS))
    for floor in reversed(FLOORS):
        words = [
            ", ".join([*["imports"] * ((floor, other) in edges), *["starts"] * ((floor, other) in started)])
            for other in FLOORS
        ]
        lines.append(f"| `{floor}` |" + "".join(f" {word} |" for word in words))
    return "\n".join(lines) + "\n"


def page() -> str:
    """``architecture.md`` with the present table."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


def files(*floors: str) -> list[Path]:
    """The Python files of some floors, or of all."""
    found = (file for floor in floors or FLOORS for file in (ROOT / floor).rglob("*.py"))
    return sorted(file for file in found if "__pycache__" not in file.parts)


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _is_module(text: str) -> bool:
    if text == "registry.db":  # the database's file
        return False
    parts = text.split(".")
    if parts[0] not in FLOORS or len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return False
    path = ROOT.joinpath(*parts)
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _modules(file: Path) -> set[str]:
    """Modules of the project that a file imports; of ``from package import module`` the module alone."""
    names = {name for name in imports(file) if name.split(".")[0] in FLOORS and _is_module(name)}
    inner = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    return names - inner - {_module(file)}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)

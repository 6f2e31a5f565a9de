"""The code that a stage's numbers come from: its own folder, and every module that it imports, found by reading it.

DVC does not trace imports, so ``dvc.yaml`` lists these files among a stage's dependencies, and the fingerprint covers
them. `python -m components code` writes the lists into ``dvc.yaml``; with ``--check`` it only says what differs.

What never touches a number is left out: the contract, the engine, the harness, pages that show results, and ``core``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FRAME = (
    "components/__init__.py",
    "components/contract.py",
    "components/code.py",
    "components/engine/",
    "components/harness/",
    "components/pages/",
)


def of(name: str, root: Path = ROOT) -> tuple[str, ...]:
    """Paths below ``root``: the folder of the stage ``name``, then the files outside it that it imports, sorted."""
    own = f"components/{name}"
    found = _reached(sorted((root / own).rglob("*.py")), root)
    return (own, *sorted(path for path in found if not path.startswith(f"{own}/")))


def closure(file: Path, root: Path = ROOT) -> tuple[str, ...]:
    """Paths below ``root``: a module of the project, and every one that it imports, sorted."""
    return tuple(sorted({file.relative_to(root).as_posix(), *_reached([file], root)}))


def _reached(files: list[Path], root: Path) -> set[str]:
    found: set[str] = set()
    while files:
        new = {path for path in _imported(files.pop(), root) if path not in found and not path.startswith(FRAME)}
        found |= new
        files += [root / path for path in new]
    return found


def imports(file: Path) -> Iterator[str]:
    """Absolute names of everything that a module imports when it runs, at any depth of nesting.

    Raises:
        ValueError: an import is relative; they are absolute in this project.
    """
    for node in _running(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"{file}:{node.lineno}: a relative import; write it absolutely")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str, root: Path = ROOT) -> str | None:
    """Path below ``root`` of a module or package of the project; ``None`` for anything else."""
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (root / candidate).is_file():
            return candidate.as_posix()
    return None


def write(path: Path, stages: tuple[str, ...]) -> list[str]:
    """Put the code of every stage into the dependencies of a ``dvc.yaml``; the stages that this changed."""
    text, changed = path.read_text(encoding="utf-8"), []
    for name in stages:
        updated = _with_code(text, name, of(name, path.parent))
        if updated != text:
            changed.append(name)
        text = updated
    if changed:
        path.write_text(text, encoding="utf-8")
    return changed


def differing(path: Path, stages: tuple[str, ...]) -> list[str]:
    """The stages whose dependencies in a ``dvc.yaml`` are not their code."""
    text = path.read_text(encoding="utf-8")
    return [name for name in stages if _with_code(text, name, of(name, path.parent)) != text]


def _with_code(text: str, name: str, code: tuple[str, ...]) -> str:
    """``dvc.yaml`` with other lines of code in one stage; everything else stays to the letter."""
    head = re.search(rf"^  {name}:\n(?:(?:    .*)?\n)*?(?P<indent> +)deps:\n", text, re.MULTILINE)
    if head is None:
        raise ValueError(f"dvc.yaml: the stage {name} has no deps")
    line = f"{head['indent']}  - "
    end = head.end()
    kept = []
    while text.startswith(line, end):
        stop = text.index("\n", end) + 1
        if not text[end + len(line) : stop].startswith("components/"):
            kept.append(text[end:stop])
        end = stop
    return text[: head.end()] + "".join(kept) + "".join(f"{line}{path}\n" for path in code) + text[end:]


def _imported(file: Path, root: Path) -> set[str]:
    paths = (file_of(module, root) for module in imports(file) if module.startswith("components."))
    return {path for path in paths if path is not None}


def _running(tree: ast.AST) -> Iterator[ast.stmt]:
    """All statements but those that only a type checker reads."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for block in ("body", "orelse", "handlers", "finalbody", "cases"):
            for child in getattr(node, block, ()):
                if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                    continue
                if isinstance(child, ast.stmt):
                    yield child
                waiting.append(child)

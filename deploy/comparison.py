"""The two sides of a comparison by names of them: the items of the evaluations that may best be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from components.evaluate.items import FILE, Item, read
from core.errors import InputProblem
from core.files import read_json
from core.workspace import Workspace
from registry.db.database import Registry
from registry.integrity import history
from registry.lineage.evaluations import Evaluation, best_pair, evaluation_of_run, evaluations
from registry.store.materialize import materialize_artifact


@dataclass(frozen=True)
class ComparedSide:
    """One of the two: a name, its items, the directions of its metrics; ``model`` is its row, where there is one."""

    name: str
    items: list[Item]
    directions: dict[str, bool | None] = field(default_factory=dict)
    model: int | None = None


def sides(workspace: Workspace, registry: Registry, a: str, b: str) -> tuple[ComparedSide, ComparedSide, list[str]]:
    """Both sides, and how their evaluations were made differently.

    Args:
        a, b: MODEL[:VERSION|@ALIAS], RUN/STAGE, or a report's folder.

    Raises:
        InputProblem: one of them was never evaluated, or its report has no items.
        UnknownReference, MissingBytes, InvalidBytes, UnsoundHistory: it is not there, or cannot be believed.
    """
    with registry.read() as session:
        (name_a, of_a), (name_b, of_b) = (_found(workspace, session, text) for text in (a, b))
        chosen: list[Evaluation | Path] = []
        if isinstance(of_a, list) and isinstance(of_b, list) and (pair := best_pair(of_a, of_b)):
            chosen = list(pair)
        else:
            chosen = [found[0] if isinstance(found, list) else found for found in (of_a, of_b)]
        session.expunge_all()
    both = []
    for name, source in zip((name_a, name_b), chosen, strict=True):
        if isinstance(source, Path):
            both.append(ComparedSide(name, list(read(source)), _directions(workspace, source)))
            continue
        folder = materialize_artifact(workspace, registry, source.report)
        try:
            rows = list(read(folder))
        except InputProblem as problem:
            raise InputProblem(f"{name} ({source.stage}): {problem}") from None
        shown = f"{name} ({source.stage})" if name_a == name_b else name
        both.append(ComparedSide(shown, rows, source.directions, source.model))
    first, second = chosen
    differences = first.differences(second) if not isinstance(first, Path) and not isinstance(second, Path) else []
    return both[0], both[1], differences


def _directions(workspace: Workspace, folder: Path) -> dict[str, bool | None]:
    """Of the metrics of a report in the workspace, from the receipt beside it."""
    receipt = read_json(workspace.root / "receipts" / f"{folder.name}.json", {})
    return {metric["name"]: metric["higher_is_better"] for metric in receipt.get("metrics", ())}


def _found(workspace: Workspace, session: Session, text: str) -> tuple[str, list[Evaluation] | Path]:
    """(name, evaluations or a folder of one) of what a person wrote."""
    folder = workspace.root / text
    if "/" in text and (folder / FILE).is_file():
        return text, folder
    run, slash, stage = text.partition("/")
    if slash:
        return text, [evaluation_of_run(session, run, stage)]
    version = history.resolve(workspace, session, text)
    found = evaluations(session, version)
    if not found:
        raise InputProblem(f"{version} was never evaluated: `stemma run` measures the workspace's models")
    return str(version), found

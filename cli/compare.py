"""``stemma compare``: two versions on every item that both were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.comparison.judged import JudgedPairs
    from components.comparison.paired import PairedMetric
    from components.evaluate.items import Item
    from core.workspace import Workspace
    from registry.lineage.evaluations import Evaluation

EPILOG = """[bold]Examples[/]

stemma compare assistant@champion assistant

stemma compare instruct assistant --metric accuracy --items 20

stemma compare RUN/evaluate@assistant reports/evaluate-assistant    a run's evaluation and the workspace's own
"""
_WIDTH = 300  # characters of a question or an answer that are shown; --json has them whole


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(compare)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="MODEL[:VERSION|@ALIAS], RUN/STAGE, or a report's folder")],
    b: Annotated[str, typer.Argument(metavar="B", help="What is compared with it, named in the same ways.")],
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME", help="Only this metric; may be repeated.")
    ] = None,
    items: Annotated[int, typer.Option(min=0, metavar="N", help="Items of each metric to show that differ.")] = 3,
    judge: Annotated[
        bool, typer.Option("--judge", help="Have the judge of `evaluate.judge` compare the answers, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, every item that differs included.")] = False,
) -> None:
    """Compare two models on every test item that both were asked: is one better, and where.

    Differences are paired: of each item that both have. ± is one standard error, clustered by the items' groups. The
    test is McNemar's for independent items that are right or wrong, else a paired bootstrap of groups; each metric is
    tested by itself, so of twenty equal ones one may seem to differ. Nothing is measured anew; with --judge, the judge
    is asked about the answers.
    """
    from cli.output import print_json
    from components.comparison.paired import compare as compare_items
    from core.errors import InputProblem
    from core.workspace import Workspace

    workspace = Workspace.find()
    one, other, differences = _sides(workspace, a, b)
    found = compare_items(one.items, other.items, one.directions | other.directions)
    names = [each.metric for each in found]
    if unknown := sorted(set(metrics or ()) - set(names)):
        raise InputProblem(
            f"{', '.join(unknown)}: not a metric of items that both have; {', '.join(names) or 'none is'}"
        )
    found = [each for each in found if not metrics or each.metric in metrics]
    if not found:
        raise InputProblem(f"{one.name} and {other.name} share no item: they were measured on different data or tasks")
    judged = _judged(workspace, one, other) if judge else None
    if as_json:
        print_json(_as_dict(one, other, differences, found, judged))
        return
    _show(one, other, differences, found, judged, items)


@dataclass(frozen=True)
class _Side:
    """One of the two: a name, its items, and the directions of its metrics."""

    name: str
    items: list[Item]
    directions: dict[str, bool | None] = field(default_factory=dict)


def _sides(workspace: Workspace, a: str, b: str) -> tuple[_Side, _Side, list[str]]:
    """Both sides, and how their evaluations were made differently."""
    from components.evaluate.items import read
    from core.errors import InputProblem
    from registry.db.database import open as open_registry
    from registry.lineage.evaluations import best_pair
    from registry.store.materialize import materialize_artifact

    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            (name_a, of_a), (name_b, of_b) = (_found(workspace, session, text) for text in (a, b))
            chosen: list[Evaluation | Path] = []
            if isinstance(of_a, list) and isinstance(of_b, list) and (pair := best_pair(of_a, of_b)):
                chosen = list(pair)
            else:
                chosen = [found[0] if isinstance(found, list) else found for found in (of_a, of_b)]
            session.expunge_all()
        sides = []
        for name, source in zip((name_a, name_b), chosen, strict=True):
            if isinstance(source, Path):
                sides.append(_Side(name, list(read(source)), _directions(workspace, source)))
                continue
            folder = materialize_artifact(workspace, registry, source.report)
            try:
                rows = list(read(folder))
            except InputProblem as problem:
                raise InputProblem(f"{name} ({source.stage}): {problem}") from None
            sides.append(_Side(f"{name} ({source.stage})" if name_a == name_b else name, rows, source.directions))
    first, second = chosen
    differences = first.differences(second) if not isinstance(first, Path) and not isinstance(second, Path) else []
    return sides[0], sides[1], differences


def _directions(workspace: Workspace, folder: Path) -> dict[str, bool | None]:
    """Of the metrics of a report in the workspace, from the receipt beside it."""
    from core.files import read_json

    receipt = read_json(workspace.root / "receipts" / f"{folder.name}.json", {})
    return {metric["name"]: metric["higher_is_better"] for metric in receipt.get("metrics", ())}


def _found(workspace: Workspace, session: Any, text: str) -> tuple[str, list[Evaluation] | Path]:
    """(name, evaluations or a folder of one) of a command-line argument."""
    from components.evaluate.items import FILE
    from core.errors import InputProblem
    from registry.integrity import history
    from registry.lineage.evaluations import evaluation_of_run, evaluations

    folder = workspace.root / text
    if "/" in text and (folder / FILE).is_file():
        return text, folder
    run, slash, stage = text.partition("/")
    if slash:
        return text, [evaluation_of_run(session, run, stage)]
    version = history.resolve(workspace, session, text)
    found = evaluations(session, version)
    if not found:
        raise InputProblem(f"{version} was never evaluated: `stemma run evaluate` measures the workspace's models")
    return str(version), found


def _judged(workspace: Workspace, a: _Side, b: _Side) -> JudgedPairs:
    from components.comparison.judged import judge_pairs
    from components.evaluate.parameters import EvaluateParameters
    from core import layout
    from core.errors import InputProblem
    from registry.promotion.parameters import load_section

    parameters = load_section(workspace.root, "evaluate", EvaluateParameters).judge
    if parameters is None:
        raise InputProblem("--judge: params.yaml has no evaluate.judge; name an endpoint and a model there")
    return judge_pairs(parameters, a.items, b.items, layout.cache(workspace.home) / "evaluate")


def _show(
    a: _Side,
    b: _Side,
    differences: Sequence[str],
    found: Sequence[PairedMetric],
    judged: JudgedPairs | None,
    items: int,
) -> None:
    from cli.output import print_table, say, shortened
    from core.numbers import figure

    say(f"A: {a.name}\nB: {b.name}")
    if differences:
        say(f"Measured with other {' and '.join(differences)}: items with the same question are compared all the same.")
    rows = []
    for each in found:
        error = f" ± {each.stderr:.2g}" if each.stderr is not None else ""
        rows.append(
            (each.metric, figure(each.a), figure(each.b), f"{each.difference:+.3g}{error}",
             f"{each.wins} : {each.ties} : {each.losses}", each.n, each.in_words("A", "B"))
        )  # fmt: skip
    print()
    print_table(("metric", "A", "B", "B - A", "B wins : ties : loses", "items", ""), rows)
    for each in found:
        if each.only_a or each.only_b:
            say(f"{each.metric}: {each.only_a} items of A and {each.only_b} of B have no counterpart and do not count.")
    if judged is not None:
        say("\n" + judged.in_words("A", "B"))
    for each in found:
        shown = [pair for pair in each.flips if pair[1].answer is not None][:items]
        for place, (one, other) in enumerate(shown):
            if not place:
                say(f"\n{each.metric}: {len(each.flips)} of {each.n} items differ")
            for name, text in (("\n  question  ", other.question), ("  reference ", other.reference)):
                say(f"{name} {shortened(text or '-', _WIDTH)}")
            for letter, row in (("A", one), ("B", other)):
                say(f"  {letter} {figure(row.score):>8}  {shortened(row.answer or '-', _WIDTH)}")


def _as_dict(
    a: _Side, b: _Side, differences: Sequence[str], found: Sequence[PairedMetric], judged: JudgedPairs | None
) -> dict[str, Any]:
    from dataclasses import asdict

    metrics = []
    for each in found:
        body = asdict(each)
        body["flips"] = [
            {
                "task": other.task,
                "item": other.item,
                "question": other.question,
                "reference": other.reference,
                "a": {"score": one.score, "answer": one.answer},
                "b": {"score": other.score, "answer": other.answer},
            }
            for one, other in each.flips
        ]
        metrics.append(
            {**body, "win_rate": each.win_rate, "significant": each.is_significant, "verdict": each.in_words("A", "B")}
        )
    body = {"a": a.name, "b": b.name, "measured_differently": list(differences), "metrics": metrics}
    return body | ({"judge": judged.as_dict()} if judged is not None else {})

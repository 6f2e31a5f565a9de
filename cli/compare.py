"""``stemma compare``: two versions on every item that both were asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.comparison.judged import JudgedPairs
    from components.comparison.paired import PairedMetric
    from core.workspace import Workspace
    from deploy.comparison import ComparedSide

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
    from deploy.comparison import sides
    from registry.db.database import open as open_registry

    workspace = Workspace.find()
    with open_registry(workspace.registry_url) as registry:
        one, other, differences = sides(workspace, registry, a, b)
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


def _judged(workspace: Workspace, a: ComparedSide, b: ComparedSide) -> JudgedPairs:
    from components.comparison.judged import judge_pairs
    from deploy.judging import judge_for

    with judge_for(workspace, "compare", [a.model, b.model]) as judging:
        return judge_pairs(judging, a.items, b.items)


def _show(
    a: ComparedSide,
    b: ComparedSide,
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
    a: ComparedSide,
    b: ComparedSide,
    differences: Sequence[str],
    found: Sequence[PairedMetric],
    judged: JudgedPairs | None,
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

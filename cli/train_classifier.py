"""``stemma data train-classifier``: a classifier of texts from good and bad examples, for `curate.classifiers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.text_classifier.training import Trained

EPILOG = """[bold]Examples[/]

stemma data train-classifier --name quality --good data/raw/good.jsonl --bad data/raw/bad.jsonl

stemma data train-classifier --name toxicity --good 'data/raw/clean/*.txt' --bad data/raw/toxic.csv --precision 0.98
"""
Files = Annotated[list[str], typer.Option(metavar="GLOB", help="Files of examples under data/raw; may be repeated.")]


def register(group: typer.Typer) -> None:
    group.command("train-classifier", epilog=EPILOG)(train_classifier)


def train_classifier(
    good: Files,
    bad: Files,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it judges: quality, toxicity, a topic.")],
    precision: Annotated[
        float, typer.Option(min=0.01, max=1, help="Wanted share of good texts from the threshold on.")
    ] = 0.9,
    text_column: Annotated[str, typer.Option(metavar="COLUMN", help="Column of a table that holds the text.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a classifier that tells good texts from bad ones, and measure it on texts that it has not seen.

    It is written to `data/raw/classifiers/NAME.safetensors`, where DVC versions it with your data; name it in
    `curate.classifiers`. A score is the probability that a text is like the good examples.
    """
    from cli.output import print_json, say
    from components.curate.parameters import CurateParameters
    from components.harness.parameters import seed_of, validate
    from components.text_classifier import examples
    from components.text_classifier.parameters import ClassifierParameters
    from components.text_classifier.training import train
    from core.errors import InputProblem
    from core.parameters_file import read
    from core.workspace import Workspace

    root = Workspace.find().root
    values = read(root / "params.yaml")
    curate: CurateParameters = validate(values, "curate", CurateParameters)
    path = f"data/raw/classifiers/{name}.safetensors"
    problems: list[str] = []
    try:
        ClassifierParameters(name=name, model=path)
    except ValueError:
        problems.append(f"--name {name}: use lower-case letters, digits and '_', a letter first")
    found = {}
    for option, patterns in (("--good", good), ("--bad", bad)):
        try:
            found[option] = examples.read(patterns, option, text_column, curate, root)
        except InputProblem as problem:
            problems += problem.problems
    if problems:
        raise InputProblem(problems)
    trained = train(found["--good"].texts, found["--bad"].texts, precision, seed_of(values))
    about = {
        "name": name,
        "files": {option.removeprefix("--"): each.files for option, each in found.items()},
        "text": {"column": text_column, "unicode_form": curate.unicode_form, "redact": list(curate.redact)},
    }
    trained.save(root / path, about)
    if as_json:
        print_json({"path": path, **trained.model.manifest, **about, "threshold": trained.model.threshold})
        return
    for line in _lines(trained, path, name):
        say(line)


def _lines(trained: Trained, path: str, name: str) -> list[str]:
    manifest: Any = trained.model.manifest
    counts, metrics = manifest["examples"], manifest["metrics"]
    share = metrics["baselines"]["share_of_good"]
    lines = [
        f"{path}: trained on {counts['train']:,} texts ({counts['good']:,} good and {counts['bad']:,} bad ones in all; "
        f"{counts['repeats']:,} repeats and {counts['in_both']:,} that are both are left out)",
        f"on {metrics['n']:,} texts that it has not seen: average precision {metrics['average_precision']:.3f} (taking "
        f"all {share:.3f}, by length alone {metrics['baselines']['average_precision_by_length']:.3f})",
    ]
    if metrics["precision"] is not None:
        low, high = metrics["precision_interval"]
        lines.append(
            f"threshold {trained.model.threshold:.3f}: precision {metrics['precision']:.3f} ({low:.3f} to {high:.3f}), "
            f"recall {metrics['recall']:.3f}; {metrics['kept']:.1%} of these texts have it or more"
        )
    for mistake in trained.mistakes:
        kind = "good" if mistake.good else "bad"
        lines.append(f"  {kind}, score {mistake.score:.3f}: {' '.join(mistake.text.split())[:120]}")
    lines.append(f"name it in params.yaml: curate.classifiers: [{{name: {name}, model: {path}, drop: below}}]")
    return lines

"""``stemma data train-classifier``: a classifier of texts from good and bad examples, for `curate.classifiers`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.evaluate.judge.parameters import JudgeParameters
    from components.evaluate.judge.prompts import Prompt
    from components.text_classifier.training import Trained

EPILOG = """[bold]Examples[/]

stemma data train-classifier --name quality --good data/raw/good.jsonl --bad data/raw/bad.jsonl

stemma data train-classifier --name toxicity --good 'data/raw/clean/*.txt' --bad data/raw/toxic.csv --precision 0.98

stemma data train-classifier --name education --rate 'data/raw/web/*' --endpoint http://HOST/v1 --model NAME
"""
Files = Annotated[list[str], typer.Option(metavar="GLOB", help="Files of examples under data/raw; may be repeated.")]
NONE: list[str] = []


def register(group: typer.Typer) -> None:
    group.command("train-classifier", epilog=EPILOG)(train_classifier)


def train_classifier(
    name: Annotated[str, typer.Option(metavar="NAME", help="What it judges: quality, toxicity, a topic.")],
    good: Files = NONE,
    bad: Files = NONE,
    rate: Annotated[
        list[str], typer.Option(metavar="GLOB", help="Files of texts that a language model rates instead.")
    ] = NONE,
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Server of OpenAI's API, up to /v1.")] = "",
    model: Annotated[str, typer.Option(metavar="NAME", help="The rating model there.")] = "",
    api_key_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds the endpoint's key.")
    ] = None,
    prompt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Asks for 0 to 5 points for {text}; default: educational value.")
    ] = None,
    good_from: Annotated[int, typer.Option(min=1, max=5, help="Points from which a text is a good one.")] = 3,
    most: Annotated[int, typer.Option(min=200, max=1_000_000, help="Texts to be rated.")] = 2000,
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
    from components.text_classifier import examples, ratings
    from components.text_classifier.parameters import ClassifierParameters
    from components.text_classifier.training import sample, train
    from core import layout
    from core.errors import InputProblem
    from core.parameters_file import read
    from core.workspace import Workspace

    workspace = Workspace.find()
    root = workspace.root
    values = read(root / "params.yaml")
    curate: CurateParameters = validate(values, "curate", CurateParameters)
    path = f"data/raw/classifiers/{name}.safetensors"
    problems: list[str] = []
    try:
        ClassifierParameters(name=name, model=path)
    except ValueError:
        problems.append(f"--name {name}: use lower-case letters, digits and '_', a letter first")
    given = {"--rate": rate} if rate else {"--good": good, "--bad": bad}
    if rate and (good or bad):
        problems.append("--rate: the model makes the examples; leave out --good and --bad")
    if not all(given.values()):
        problems.append("give --good and --bad, or --rate with --endpoint and --model")
    found = {}
    for option, patterns in given.items():
        try:
            found[option] = examples.read(patterns, option, text_column, curate, root)
        except InputProblem as problem:
            problems += problem.problems
    rater = None
    if rate:
        try:
            rater = _rater(endpoint, model, api_key_variable, prompt)
        except InputProblem as problem:
            problems += problem.problems
    if problems:
        raise InputProblem(problems)
    about: dict[str, Any] = {
        "name": name,
        "files": {option.removeprefix("--"): each.files for option, each in found.items()},
        "text": {"column": text_column, "unicode_form": curate.unicode_form, "redact": list(curate.redact)},
    }
    if rater is not None:
        chosen = sample(found["--rate"].texts, most)
        with _bar(len(chosen), f"{model} rates") as advance:
            rated = ratings.rate(chosen, *rater, good_from, layout.ratings(workspace.home), advance)
        about["ratings"] = rated.about
        kinds = rated.good, rated.bad
    else:
        kinds = found["--good"].texts, found["--bad"].texts
    trained = train(*kinds, precision, seed_of(values))
    trained.save(root / path, about)
    if as_json:
        print_json({"path": path, **trained.model.manifest, **about, "threshold": trained.model.threshold})
        return
    if "ratings" in about:
        counted = ", ".join(f"{count:,} texts with {points}" for points, count in about["ratings"]["ratings"].items())
        failed = sum(about["ratings"]["failures"].values())
        say(f"ratings by {about['ratings']['model']}: {counted}" + (f", {failed:,} without any" if failed else ""))
    for line in _lines(trained, path, name):
        say(line)


def _rater(
    endpoint: str, model: str, api_key_variable: str | None, prompt: Path | None
) -> tuple[JudgeParameters, Prompt]:
    """The model that rates, and what it is asked. Raises InputProblem with everything that is wrong with them."""
    from pydantic import ValidationError

    from components.evaluate.judge.parameters import JudgeParameters
    from components.text_classifier import ratings
    from core.errors import InputProblem

    problems: list[str] = []
    if api_key_variable and not os.environ.get(api_key_variable, "").strip():
        problems.append(f"--api-key-variable: the environment variable {api_key_variable} is not set")
    try:
        judge = JudgeParameters(endpoint=endpoint, model=model, api_key_variable=api_key_variable)
    except ValidationError as error:
        for each in error.errors():
            option = str(each["loc"][0]).replace("_", "-")
            problems.append(f"--{option}: {each['msg'].removeprefix('Value error, ')}")
    try:
        asking = ratings.prompt(prompt)
    except InputProblem as problem:
        problems += problem.problems
    if problems:
        raise InputProblem(problems)
    return judge, asking


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[], None]]:
    """Progress on standard error."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


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

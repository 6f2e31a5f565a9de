"""``stemma data train-perplexity``: an n-gram model of good text, for `curate.quality.perplexity`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.perplexity.training import TrainedPerplexity

EPILOG = """[bold]Examples[/]

stemma data train-perplexity --name wiki --text data/raw/wiki.jsonl

stemma data train-perplexity --name wiki --text 'data/raw/wiki/*.parquet' --reference 'data/raw/web/*.jsonl.gz'
"""
NONE: list[str] = []


def register(group: typer.Typer) -> None:
    group.command("train-perplexity", epilog=EPILOG)(train_perplexity)


def train_perplexity(
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the model: what its text is.")],
    text: Annotated[
        list[str], typer.Option(metavar="GLOB", help="Files of good text under data/raw; may be repeated.")
    ],
    reference: Annotated[
        list[str],
        typer.Option(metavar="GLOB", help="Files of texts like those to be judged, whose thirds are the buckets."),
    ] = NONE,
    text_column: Annotated[str, typer.Option(metavar="COLUMN", help="Column of a table that holds the text.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train an n-gram model on good text, and measure by it where a reference's texts divide into thirds.

    It is written to `data/raw/perplexity/NAME.safetensors`, where DVC versions it with your data; name it in
    `curate.quality.perplexity`. A score is bits per byte: the fewer, the more a text is like the good ones.
    """
    import re

    from cli.output import print_json, say
    from components.curate.parameters import CurateParameters
    from components.harness.parameters import seed_of, validate
    from components.perplexity.training import train
    from components.text_classifier import examples
    from core.errors import InputProblem
    from core.parameters_file import read
    from core.workspace import Workspace

    root = Workspace.find().root
    values = read(root / "params.yaml")
    curate: CurateParameters = validate(values, "curate", CurateParameters)
    problems: list[str] = []
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        problems.append(f"--name {name}: use lower-case letters, digits and '_', a letter first")
    found = {}
    for option, patterns in (("--text", text), ("--reference", reference)):
        try:
            found[option] = examples.read(patterns, option, text_column, curate, root) if patterns else None
        except InputProblem as problem:
            problems += problem.problems
    if problems:
        raise InputProblem(problems)
    about: dict[str, Any] = {
        "name": name,
        "files": {option.removeprefix("--"): each.files for option, each in found.items() if each},
        "text": {"column": text_column, "unicode_form": curate.unicode_form, "redact": list(curate.redact)},
    }
    sample, others = (each.texts if each else [] for each in found.values())
    trained = train(sample, others, seed_of(values))
    path = f"data/raw/perplexity/{name}.safetensors"
    trained.save(root / path, about)
    if as_json:
        print_json({"path": path, **trained.model.manifest, **about, "cutoffs": list(trained.model.cutoffs)})
        return
    for line in _lines(trained, path):
        say(line)


def _lines(trained: TrainedPerplexity, path: str) -> list[str]:
    manifest: Any = trained.model.manifest
    texts, tokens, metrics = manifest["texts"], manifest["tokens"], manifest["metrics"]
    low, high = trained.model.cutoffs
    whose = f"{texts['reference']:,} texts of the reference" if texts["reference"] else "these texts"
    lines = [
        f"{path}: trained on {texts['learnt']:,} texts ({texts['characters_learnt'] / 1e6:.1f} million characters); "
        f"{tokens['words']:,} words are known, {tokens['grams']:,} n-grams kept",
        f"on {texts['unseen']:,} texts that it has not seen: {metrics['bits_per_byte_unseen']:.3f} bits per byte (by "
        f"the frequency of words alone {metrics['baselines']['unigram_bits_per_byte_unseen']:.3f})",
        f"thirds of {whose}: head under {low:.3f}, middle, tail from {high:.3f} bits per byte",
    ]
    for kind, (bits, text) in (("lowest", trained.best), ("highest", trained.worst)):
        lines.append(f"  {kind}, {bits:.3f}: {' '.join(text.split())[:120]}")
    lines.append(f"name it in params.yaml: curate.quality.perplexity: {{model: {path}, keep: [head, middle]}}")
    return lines

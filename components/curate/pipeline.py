"""Every chunk is judged, wherever the engine does it, and what was counted is put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, tee
from pathlib import Path

from components import engine
from components.contract import Context, Interrupted
from components.curate import compilation, judging
from components.curate.files.chunks import Chunk, chunks
from components.curate.filters import classifiers, perplexity
from components.curate.ledger import Ledger
from components.curate.privacy import entities, placeholders
from components.curate.sources import module_of
from core.errors import InputProblem
from core.workspace import Workspace

JUDGED, JUDGED_COMPILED = 1e6, 6e6  # bytes that a processor judges in a second, about
LOOKED_AT = 1 << 30  # bytes of chunks, at most, of which it is known before the work begins whether they are judged


@dataclass
class JudgedChunks:
    """The judged documents of all sources.

    Attributes:
        paths: their files, in stable order.
        frozen: how many of them, the first, hold the documents of ``split.held_out``.
        compared: how many, behind these, hold documents of ``deduplication.against``.
        found: how many were there already, from a run before.
        classifiers: that judged them.
        buckets: by perplexity, that they were put in.
    """

    paths: list[Path] = field(default_factory=list)
    frozen: int = 0
    compared: int = 0
    found: int = 0
    classifiers: tuple[classifiers.Classifier, ...] = ()
    buckets: perplexity.PerplexityBuckets | None = None


def judge_all(context: Context, workspace: Path, folder: Path, own: Path, ledger: Ledger) -> JudgedChunks:
    """Judge every chunk of every source.

    Args:
        folder: of files that are taken again by other runs, named by what made them.
        own: an empty folder for those that cannot be.

    Raises:
        Interrupted: the stage shall stop; what is judged stays for the next run.
    """
    parameters = context.parameters
    size = sum(module_of(source).size(source, workspace) for source in parameters.sources)
    models = classifiers.load(parameters.classifiers, workspace)
    buckets = perplexity.load(parameters.quality.perplexity, workspace)
    digests = [each.model.digest for each in models] + (buckets.digests if buckets else [])
    ner = entities.digest(parameters.ner, workspace)
    if parameters.ner is not None:
        entities.load(parameters.ner, workspace, ner)  # what is wrong with it is known before anything is judged
        ledger.notes["ner"] = {"model": parameters.ner.model, "digest": ner}
    hashed = placeholders.of_home(Workspace.find(workspace).home) if parameters.placeholder == "hashed" else None
    if hashed is not None:
        ledger.notes["placeholders"] = {"salt": hashed.mark}
    orders = judging.Orders(
        parameters, context.seed, workspace, folder, own, judging.made_by(),
        elsewhere=parameters.engine.type == "ray", models=tuple(digests), ner=ner, hashed=hashed,
    )  # fmt: skip
    done, failed = JudgedChunks(classifiers=models, buckets=buckets), set[str]()
    looked_at, rest, new = _look(orders, chunks(parameters, workspace), size)
    # The size of a dataset of the hub is not known before it is read.
    unknown = any(source.type == "huggingface" for source in parameters.sources)
    orders = replace(orders, compiled=unknown or compilation.is_worth(new))
    ahead, tasks = tee(chain(looked_at, rest))
    seconds = new / (JUDGED_COMPILED if orders.compiled else JUDGED)
    with (
        closing(engine.run(partial(judging.judge, orders), tasks, parameters.engine, seconds)) as results,
        context.progress("curate", size / 1e6, unit="MB") as advance,
    ):
        for (_, chunk, _), judged in zip(ahead, results, strict=True):
            if context.stopping:
                raise Interrupted
            advance(chunk.size / 1e6)
            counted = judging.ledger_of(judged.path, parameters.examples)
            done.found += judged.found
            if chunk.continued in failed:
                continue  # its rows make no sense where the file as a whole makes none
            if counted.problems:
                failed |= {file.name for file in chunk.files}
            ledger.merge(counted)
            done.paths.append(judged.path)
            done.compared += chunk.compared
            done.frozen += chunk.source is None and not chunk.compared
    return done


def _look(
    orders: judging.Orders, found: Iterable[Chunk], size: int
) -> tuple[list[judging.Task], Iterator[judging.Task], int]:
    """How much there is to judge, of sources of ``size`` bytes: by it processes and compiled code are started or not.

    Returns the first chunks, which were looked for among those that are judged already; the rest; and the bytes of
    those that are not, and of the rest.
    """
    numbered, first = enumerate(found), list[judging.Task]()
    seen = new = 0
    for number, chunk in numbered:
        known = judging.known(orders, number, chunk)
        first.append((number, chunk, known))
        seen += chunk.size
        new += 0 if known else chunk.size
        if new >= compilation.FROM_NOTHING or seen >= LOOKED_AT:
            return first, ((number, chunk, None) for number, chunk in numbered), new + max(0, size - seen)
    return first, iter(()), new


def broken_problems(ledger: Ledger, max_broken_share: float) -> list[str]:
    """Files with more unreadable rows than tolerated, each with its first broken rows."""
    tallies = [ledger.files[name] for name in sorted(ledger.files)]
    found = [tally.problem(max_broken_share, "curate.max_broken_share") for tally in tallies]
    return [problem for problem in found if problem is not None]


def require_text(kept: int, ledger: Ledger, duplicates: Counter[str]) -> None:
    """Raise InputProblem, with what happened to the documents, when none is left."""
    if kept:
        return
    read = sum(ledger.read.values())
    if not read:
        raise InputProblem("curate.sources: no document was found in any source: check paths and text_column")
    worst = ", ".join(f"{rule} dropped {count}" for rule, count in _commonest(ledger.dropped + duplicates))
    raise InputProblem(
        f"curate: all {read} documents were dropped ({worst}), the corpus is empty: loosen these rules in "
        "curate.quality, or add text"
    )


def _commonest(counts: Counter[str]) -> Sequence[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]

"""The user's examples, read and cleaned as curation would read and clean them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.curate import batches, judging
from components.curate.files.parts import SourcePart
from components.curate.files.user_files import DOCUMENTS, find
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters, FilesSource
from components.curate.sources import files
from components.curate.text.mojibake import repaired
from core.errors import InputProblem
from core.files import sha256


@dataclass(frozen=True)
class ReadTexts:
    """Texts, and the files that they are from with their SHA-256."""

    texts: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


def read(
    patterns: Sequence[str], option: str, text_column: str, parameters: CurateParameters, workspace: Path
) -> ReadTexts:
    """Every text of the files that the globs name.

    Args:
        option: of the command, which begins the messages.
        parameters: how texts are normalized, and what is redacted in them.

    Raises:
        InputProblem: every problem of the globs and the files.
    """
    found, problems = find(patterns, option, workspace, DOCUMENTS)
    if problems:
        raise InputProblem(problems)
    source = FilesSource(paths=tuple(patterns), text_column=text_column)
    ledger = Ledger(parameters.examples, judging.conceal)
    part = SourcePart(option, 0, tuple(found))
    texts = [document.text for document in files.read(source, part, workspace, ledger)]
    problems = ledger.problems + [
        problem
        for tally in ledger.files.values()
        if (problem := tally.problem(parameters.max_broken_share, "curate.max_broken_share"))
    ]
    if problems:
        raise InputProblem([line.replace(files.COLUMNS, "--text-column") for line in problems])
    if parameters.repair_mojibake:
        texts = list(map(repaired, texts))
    texts = batches.cleaned(texts, parameters.unicode_form, compiled=False)
    texts = [text for text, _ in batches.redacted(texts, parameters.redact, compiled=False)]
    digests = {file.name: sha256(file.path) for file in found}
    return ReadTexts([text for text in texts if text.strip()], digests)

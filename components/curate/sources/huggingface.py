"""A dataset of the Hugging Face hub, or a local folder, by ``datasets.load_dataset``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components.curate.documents import Document
from components.curate.files.markup import text_of
from components.curate.files.parts import SourcePart
from components.curate.ledger import Ledger
from components.curate.parameters import HuggingFaceSource


def size(source: HuggingFaceSource, workspace: Path) -> int:
    return 0


def parts(source: HuggingFaceSource, workspace: Path) -> Iterator[SourcePart]:
    """All of it: the library reads as a stream. What it will give is not known before."""
    yield SourcePart(source.id, 0, known=False)


def read(source: HuggingFaceSource, part: SourcePart, workspace: Path, ledger: Ledger) -> Iterator[Document]:
    """Rows of the split, in order."""
    from datasets import load_dataset

    local = _local(source, workspace)
    try:
        dataset = load_dataset(
            str(local or source.id),
            source.config,
            split=source.split,
            revision=None if local else source.revision,
            streaming=source.streaming,
        )
    except Exception as error:  # the library raises whatever its reader, its cache or the network raises
        ledger.problems.append(
            f"curate.sources: dataset {source.id!r} (config {source.config}, split {source.split!r}) cannot be loaded: "
            f"{type(error).__name__}: {_without(str(error), workspace)}"
        )
        return
    ledger.notes[f"huggingface {source.id}"] = {
        "config": source.config, "split": source.split, "revision": source.revision,
        "version": str(dataset.info.version) if dataset.info.version else None,
    }  # fmt: skip
    license = source.license or dataset.info.license or "unknown"
    try:
        for number, row in enumerate(dataset, 1):
            if number == 1:
                missing = [c for c in (source.text_column, source.group_column) if c and c not in row]
                if missing:
                    ledger.problems.append(
                        f"curate.sources: dataset {source.id!r} has no column "
                        f"{' or '.join(map(repr, missing))}; it has "
                        f"{', '.join(map(repr, row))}: name one of them in text_column, group_column"
                    )
                    return
            ledger.row(source.id)
            text = row.get(source.text_column)
            where = f"{source.id}#{number}"
            if not isinstance(text, str):
                ledger.break_row(source.id, f"{source.id}, row {number}", f"{source.text_column!r} is not text")
                continue
            if source.markup == "html":
                try:
                    text = text_of(text, source.extractor)
                except ValueError as error:
                    ledger.break_row(source.id, f"{source.id}, row {number}", f"the page {error}")
                    continue
            group = row.get(source.group_column) if source.group_column else None
            yield Document(
                text, source.id, "row", where if group in (None, "") else f"{source.group_column}={group}", license,
                where,
            )  # fmt: skip
    except Exception as error:
        ledger.problems.append(
            f"curate.sources: dataset {source.id!r} cannot be read to its end: {type(error).__name__}: "
            f"{_without(str(error), workspace)}"
        )


def _local(source: HuggingFaceSource, workspace: Path) -> Path | None:
    path = workspace / source.id
    return path if path.is_dir() else None


def _without(message: str, workspace: Path) -> str:
    return message.replace(f"{workspace}/", "")

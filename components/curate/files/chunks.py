"""All that is to be read, as chunks in a stable order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa

from components.curate import held_out
from components.curate.documents import FIELDS, Document
from components.curate.files.parts import SourcePart, size_of
from components.curate.files.user_files import UserFile, find_shards
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters, Source
from components.curate.sources import module_of

BATCH_ROWS, BATCH_CHARACTERS = 4096, 4 << 20


@dataclass(frozen=True)
class Chunk:
    """Parts of a source that are worked on together.

    Attributes:
        source: where they come from; ``None`` for the documents of an earlier corpus (``split.held_out``,
            ``deduplication.against``), which are taken as they are.
        parts: mostly one; all of a source whose ``max_documents`` only reading it in order can respect.
        compared: documents that others are only compared with (``deduplication.against``).
    """

    source: Source | None
    parts: tuple[SourcePart, ...]
    compared: bool = False

    @property
    def name(self) -> str:
        return self.parts[0].name if len(self.parts) == 1 else f"{len(self.parts)} parts of {self.parts[0].name}"

    @property
    def size(self) -> int:
        """Bytes, as far as known before they are read."""
        return sum(part.size for part in self.parts)

    @property
    def files(self) -> list[UserFile]:
        return [file for part in self.parts for file in part.files]

    def holding(self, files: Sequence[UserFile]) -> Chunk:
        """The same chunk with other copies of its files."""
        copies = iter(files)
        parts = (replace(part, files=tuple(islice(copies, len(part.files)))) for part in self.parts)
        return replace(self, parts=tuple(parts))

    @property
    def known(self) -> bool:
        """Whether names and content of its files decide its documents."""
        return all(part.known for part in self.parts) and (self.source is None or self.source.max_documents is None)

    @property
    def continued(self) -> str | None:
        """Name of the file that this is a later piece of."""
        first = self.parts[0].files[:1]
        return first[0].name if first and first[0].start else None

    def read(self, workspace: Path, ledger: Ledger) -> Iterator[pa.RecordBatch]:
        """Its documents, counted as read, in batches with the columns of a document."""
        rows: list[Document] = []
        characters = 0
        for document in self._documents(workspace, ledger):
            if not self.compared:
                ledger.take(document)
            rows.append(document)
            characters += len(document.text)
            if len(rows) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield _batch(rows)
                rows, characters = [], 0
        if rows:
            yield _batch(rows)

    def _documents(self, workspace: Path, ledger: Ledger) -> Iterator[Document]:
        source = self.source
        if source is None:
            return held_out.documents(self.files)
        read = module_of(source).read
        return islice(
            (document for part in self.parts for document in read(source, part, workspace, ledger)),
            source.max_documents,
        )


def chunks(parameters: CurateParameters, workspace: Path) -> Iterator[Chunk]:
    """The held-out documents first, then those that others are compared with, then every source in the order of the
    parameters; found as they are asked for."""
    if files := find_shards(parameters.split.held_out, "curate.split.held_out", workspace)[0]:
        yield Chunk(None, (SourcePart("split.held_out", sum(map(size_of, files)), tuple(files)),))
    for file in find_shards(parameters.deduplication.against, "curate.deduplication.against", workspace)[0]:
        yield Chunk(None, (SourcePart("deduplication.against", size_of(file), (file,)),), compared=True)
    for source in parameters.sources:
        parts = module_of(source).parts(source, workspace)
        if source.max_documents is not None:
            yield Chunk(source, tuple(parts))
        else:
            yield from (Chunk(source, (part,)) for part in parts)


def _batch(rows: list[Document]) -> pa.RecordBatch:
    columns = [[getattr(row, name) for row in rows] for name in FIELDS]
    try:
        return pa.record_batch([pa.array(column, pa.string()) for column in columns], names=list(FIELDS))
    except (UnicodeEncodeError, pa.ArrowInvalid):
        # Halves of surrogate pairs, which no encoding has; cleaning removes them from every text.
        whole = [[value.encode("utf-8", "ignore").decode() for value in column] for column in columns]
        return pa.record_batch([pa.array(column, pa.string()) for column in whole], names=list(FIELDS))

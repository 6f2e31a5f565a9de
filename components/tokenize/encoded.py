"""The corpus's parts as encoded documents, a file a part, named by what made it.

So a part that is there need not be encoded again when the stage was killed; and however many processes encode, the
documents are packed in the corpus's order.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.tokenize.corpus import CorpusPart, batches, numbers, text_bytes, words
from components.tokenize.encoding import Encoder, versions
from core.errors import InputProblem
from core.files import replacing

_loaded: dict[tuple[str, int, bool], Encoder] = {}  # this process's encoder, by what it is of


@dataclass(frozen=True)
class EncodingOrders:
    """What holds for every part.

    Attributes:
        folder: of the encoded parts.
        tokenizer: file that holds ``tokenizer.json``, in ``folder``; its name says what is in it.
        end: the token that follows each document.
        fast: encode with gigatoken where it gives the same.
        dtype: of the ids.
        documents: encoded at a time, at most.
        columns: of the corpus that are kept.
        threads: a process that encodes alone uses all processors.
        elsewhere: the work is done on other machines, which must have these ``versions`` of the encoders.
    """

    folder: Path
    tokenizer: str
    end: int
    fast: bool
    dtype: str
    documents: int
    columns: tuple[str, ...]
    threads: bool
    elsewhere: bool
    versions: str

    @property
    def digest(self) -> str:
        """Of what decides the bytes of a part, besides the corpus."""
        body = (self.tokenizer, self.end, self.dtype, self.columns, self.documents)
        return hashlib.sha256(repr(body).encode()).hexdigest()[:16]


def encode(orders: EncodingOrders, part: CorpusPart) -> Path:
    """The part's file, made unless it is there.

    Raises:
        InputProblem: a row has no text, or this machine's encoders are other versions.
    """
    if orders.elsewhere and versions() != orders.versions:
        raise InputProblem(
            f"{os.uname().nodename} has {versions()}, and the machine on which the stage was started has "
            f"{orders.versions}: install the same on all machines"
        )
    path = orders.folder / f"{part.name}-{orders.digest}.arrow"
    if path.exists():
        return path
    alone = orders.threads and multiprocessing.parent_process() is None
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if alone else "false"
    encoder = _encoder(orders)
    with replacing(path) as file:
        writer: pa.RecordBatchFileWriter | None = None
        for batch in batches(part, orders.documents, orders.columns):
            made = _encoded(batch, encoder, np.dtype(orders.dtype))
            writer = writer or pa.ipc.new_file(file, made.schema)
            writer.write_batch(made)
        if writer is not None:
            writer.close()
    return path


def read(path: Path) -> Iterator[pa.RecordBatch]:
    """The documents of a part's file, in batches: ``ids``, ``bytes``, ``words``, and the corpus's columns.

    Raises:
        InputProblem: the file is damaged.
    """
    if not path.stat().st_size:
        return  # a part without documents
    try:
        # Mapped pages would count as this process's memory.
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
    except (OSError, pa.ArrowException) as error:
        raise InputProblem(f"{path}: is damaged ({error}): remove it, and run the stage again") from error


def tokens_of(batch: pa.RecordBatch) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """Ids of an encoded batch's documents, the end tokens among them; and how many each document has."""
    column = batch.column("ids")
    offsets = numbers(column.offsets)
    return numbers(column.values)[offsets[0] : offsets[-1]], np.diff(offsets)


def _encoded(batch: pa.RecordBatch, encoder: Encoder, dtype: np.dtype[np.unsignedinteger]) -> pa.RecordBatch:
    texts = batch.column("text")
    counted = {"bytes": _numbers(text_bytes(texts)), "words": _numbers(words(texts))}
    columns = {
        "ids": _lists(*encoder.encode(texts), dtype),
        **counted,
        **{name: _plain(batch.column(name)) for name in batch.schema.names if name != "text"},
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _plain(column: pa.Array) -> pa.Array:
    """Dictionaries differ from batch to batch, and the file has room for one."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _lists(
    values: NDArray[np.unsignedinteger], lengths: NDArray[np.int64], dtype: np.dtype[np.unsignedinteger]
) -> pa.LargeListArray:
    values = values.astype(dtype, copy=False)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    kind = pa.large_list(pa.from_numpy_dtype(values.dtype))
    return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(ends)], children=[_numbers(values)])


def _numbers(values: NDArray[np.integer]) -> pa.Array:
    """As ``pa.array``, which would import pandas wherever it is."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def use(encoder: Encoder, orders: EncodingOrders) -> None:
    """Encode with ``encoder`` in this process, rather than load another one."""
    _loaded.clear()
    _loaded[orders.tokenizer, orders.end, orders.fast] = encoder


def _encoder(orders: EncodingOrders) -> Encoder:
    """This process's encoder, which it keeps from part to part."""
    if (orders.tokenizer, orders.end, orders.fast) not in _loaded:
        from tokenizers import Tokenizer

        body = (orders.folder / orders.tokenizer).read_text(encoding="utf-8")
        use(Encoder(Tokenizer.from_str(body), orders.end, fast=orders.fast), orders)
    return _loaded[orders.tokenizer, orders.end, orders.fast]

"""One chunk from its source to a file of judged documents, whose name is the digest of all that made it.

So a file that is there need not be made again: what a killed run had finished is taken by the next one, and a run with
new data works on what is new.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components import code
from components.curate.files import remote
from components.curate.files.chunks import Chunk
from components.curate.files.parts import digest, signs
from components.curate.files.user_files import UserFile
from components.curate.filters import classifiers, perplexity
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters
from components.curate.privacy import entities
from components.curate.privacy.placeholders import TYPED, Hashed, typed
from components.curate.privacy.redaction import redact
from components.curate.process import as_it_is, process, schema
from core import python
from core.errors import InputProblem
from core.files import replacing

_LEDGER = b"stemma.ledger"
_DISTRIBUTIONS = {"fasttext": "fasttext-predict"}  # of libraries that go by another name
_ENCODED = ("source", "kind", "license", "rule")  # columns of few values
# What decides nothing about a single document.
_GLOBAL: dict[str, object] = {
    "sources": True, "split": True, "max_broken_share": True, "outside_links": True, "shard_megabytes": True,
    "engine": True, "instructions": True, "labels": True, "decontamination": True,
    "deduplication": {"threshold", "split_threshold", "lines", "substrings", "against"}, "quality": {"profile"},
}  # fmt: skip


def conceal(text: str) -> str:
    """Redact everything, for excerpts that are shown whatever the parameters keep."""
    return redact(text, TYPED)[0]


@dataclass(frozen=True)
class Orders:
    """What holds for every chunk of a run.

    Attributes:
        folder: where files are kept by what made them.
        own: where this run alone keeps those that must be made anew each time.
        made_by: digest of the code and the versions of the libraries.
        elsewhere: the work is done on other machines, whose code may differ.
        compiled: there is so much text that compiled code is worth its start.
        models: digests of the classifiers' models, and of those of the buckets by perplexity behind them.
        ner: digest of the model that finds names.
        hashed: what is written for personal data, if not its type alone.
    """

    parameters: CurateParameters
    seed: int
    workspace: Path
    folder: Path
    own: Path
    made_by: str
    elsewhere: bool = False
    compiled: bool = False
    models: tuple[str, ...] = ()
    ner: str | None = None
    hashed: Hashed | None = None


@dataclass(frozen=True)
class Judged:
    """A chunk's file, and whether it was there already."""

    path: Path
    found: bool


Task = tuple[int, Chunk, Path | None]
"""A chunk with its place among all before it, and behind it its file where that is known to be there."""


def known(orders: Orders, number: int, chunk: Chunk) -> Path | None:
    """The file of a chunk that was judged before; ``None`` where it was not, or only reading it shows."""
    try:
        path = _path(number, chunk, orders, chunk.files)
    except FileNotFoundError:  # it was removed just now: `judge` says so
        return None
    return path if path is not None and _taken(path, chunk) else None


def judge(orders: Orders, task: Task) -> Judged:
    """Make the file of a chunk, unless it is there.

    Raises:
        InputProblem: a file changed while it was read, or this machine has other code or libraries than the one that
            gives the orders.
    """
    number, chunk, found = task
    if found is not None:
        return Judged(found, True)
    spare_pandas(orders.parameters)
    if orders.elsewhere and (here := made_by()) != orders.made_by:
        raise InputProblem(
            f"{os.uname().nodename} has another version of the code, of Python or of a library than the one on which "
            f"the stage was started ({here[:12]}, not {orders.made_by[:12]}): install the same on all machines"
        )
    files, path = chunk.files, None
    try:
        before = signs(files)
        path = _path(number, chunk, orders, files)
        if path is not None and _taken(path, chunk):
            return Judged(path, True)
        with remote.fetched(files) as copies:
            if path is None:
                path = _path(number, chunk, orders, copies)
                assert path is not None  # all content is here now
                if _taken(path, chunk):
                    return Judged(path, True)
            _write(chunk.holding(copies), orders, path)
        changed = signs(files) != before
    except FileNotFoundError as error:
        if path is not None:
            path.unlink(missing_ok=True)  # it was made of less than its name says
        raise InputProblem(f"{error.filename}: was removed while it was read: run the stage again") from error
    if changed:
        path.unlink(missing_ok=True)
        raise InputProblem(f"{chunk.name}: was changed while it was read: run the stage again")
    return Judged(path, False)


def spare_pandas(parameters: CurateParameters) -> None:
    """Work without pandas, where no library needs it that reads a source."""
    if not any(source.type == "huggingface" for source in parameters.sources):
        python.spare_pandas()


def ledger_of(path: Path, examples: int) -> Ledger:
    """What was counted while a file was made."""
    return Ledger.of(examples, json.loads(pq.read_metadata(path).metadata[_LEDGER]))


@cache
def made_by() -> str:
    """Digest of all code that judging runs, the versions of the libraries that it imports, and of Python."""
    files = code.closure(Path(__file__))
    found = hashlib.sha256(f"{sys.version}\n{unicodedata.unidata_version}\n".encode())
    for file in files:
        found.update(f"{file}\0".encode() + (code.ROOT / file).read_bytes())
    imported = {name.split(".")[0] for file in files for name in code.imports(code.ROOT / file)}
    for library in sorted(imported - sys.stdlib_module_names - {"components", "core"}):
        found.update(f"{library} {_version(library)}\n".encode())
    return found.hexdigest()


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(library, library))
    except importlib.metadata.PackageNotFoundError:
        if find_spec(library) is None:  # an extra that is not installed
            return ""
        # It goes by yet another name; finding that takes longer.
        names = importlib.metadata.packages_distributions().get(library, [])
        return " ".join(sorted(importlib.metadata.version(name) for name in names))


def _path(number: int, chunk: Chunk, orders: Orders, files: Sequence[UserFile]) -> Path | None:
    """Where the chunk's file is kept; ``None`` while that depends on the content of files that are still elsewhere."""
    if not chunk.known:
        return orders.own / f"{number:08d}.parquet"
    if any(file.url is not None and file.mark is None and not file.path.is_absolute() for file in files):
        return None
    return orders.folder / f"{_key(chunk, orders, digest(files))}.parquet"


def _taken(path: Path, chunk: Chunk) -> bool:
    """Whether the file is there, and whole; the newest are kept longest."""
    if not chunk.known or not path.is_file():
        return False
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):  # damaged since it was written: made anew
        return False
    os.utime(path)
    return True


def _key(chunk: Chunk, orders: Orders, content: str) -> str:
    """Name of a chunk's file; ``content`` is the digest of what the chunk is read from."""
    source = chunk.source and chunk.source.model_dump(mode="json", exclude={"paths"})
    rules = orders.parameters.model_dump(mode="json", exclude=_GLOBAL)  # type: ignore[arg-type]
    body = [orders.made_by, orders.seed, source, [part.name for part in chunk.parts], content, rules, *orders.models]
    if orders.ner is not None:
        body.append(orders.ner)
    if orders.hashed is not None:
        body.append(orders.hashed.mark)
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:40]


def _write(chunk: Chunk, orders: Orders, path: Path) -> None:
    """Judge the chunk's documents into ``path``, which is there whole or not at all."""
    parameters, ledger = orders.parameters, Ledger(orders.parameters.examples, conceal)
    models, buckets = _models(orders)
    finder = entities.load(parameters.ner, orders.workspace, orders.ner)
    with (
        replacing(path) as file,
        pq.ParquetWriter(
            file, schema(parameters), compression="zstd", compression_level=1, use_dictionary=list(_ENCODED),
            store_schema=True, write_page_checksum=True,
        ) as writer,
    ):  # fmt: skip
        for batch in chunk.read(orders.workspace, ledger):
            if chunk.source is None:
                writer.write_batch(as_it_is(batch, parameters, orders.seed, ledger))
            else:
                judged = process(
                    batch, parameters, orders.seed, ledger, models=models, buckets=buckets, finder=finder,
                    placeholder=orders.hashed or typed, compiled=orders.compiled,
                )  # fmt: skip
                writer.write_batch(judged)
        writer.add_key_value_metadata({_LEDGER: json.dumps(ledger.as_dict()).encode()})


def _models(orders: Orders) -> tuple[tuple[classifiers.Classifier, ...], perplexity.PerplexityBuckets | None]:
    """Classifiers and buckets, if their files are here what they were where the orders come from."""
    found = classifiers.load(orders.parameters.classifiers, orders.workspace)
    buckets = perplexity.load(orders.parameters.quality.perplexity, orders.workspace)
    here = [(each.parameters.model, each.model.digest) for each in found]
    if buckets is not None:
        here += zip(buckets.files.values(), buckets.digests, strict=True)
    for (name, digest_here), wanted in zip(here, orders.models, strict=True):
        if digest_here != wanted:
            raise InputProblem(
                f"{name}: is another file on {os.uname().nodename} than where the stage was started, "
                "or was changed since: put the same one there, and run the stage again"
            )
    return found, buckets

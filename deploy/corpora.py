"""Opening a corpus, or its card, by a name of it: the bytes that the registry finds, read as the components do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components import pages
from components.corpora.shards import Corpus
from core.files import read_json
from core.workspace import Workspace
from registry.errors import MissingBytes
from registry.store.corpora import find_corpus


def open_corpus(workspace: Workspace, name: str | None = None) -> tuple[Corpus, dict[str, Any]]:
    """The corpus, and the reports of curate (``report``) and tokenize (``tokenized``) beside it, or ``None``.

    Raises:
        UnknownReference, MissingBytes: as :func:`registry.store.corpora.find_corpus`.
    """
    files = find_corpus(workspace, name)
    reports = {
        kind: read_json(folder["report.json"], None) if "report.json" in folder else None
        for kind, folder in (("report", files.report), ("tokenized", files.tokenized))
    }
    return Corpus(files.name, files.shards), reports


def card(workspace: Workspace, name: str | None = None) -> str:
    """The data card of a corpus: the page that curate's report is shown as, one HTML file that needs nothing else.

    Raises:
        UnknownReference: there is no such corpus.
        MissingBytes: its report is not there, or cannot be laid out by this version.
    """
    files = find_corpus(workspace, name)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "reports" / "curate"
        report.mkdir(parents=True)
        for file, path in files.report.items():
            (report / Path(file).name).symlink_to(path.resolve())
        try:
            made = pages.render(Path(folder), "curate")
        except ValueError as error:
            raise MissingBytes(f"{files.name}: {error}") from None
        if made is None:
            raise MissingBytes(f"{files.name} has no report of curate, of which its card is made")
        return made.read_text(encoding="utf-8")

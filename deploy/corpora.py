"""Opening a corpus by a name of it: the bytes that the registry finds, read as the components read them."""

from __future__ import annotations

from typing import Any

from components.corpora.shards import Corpus
from core.files import read_json
from core.workspace import Workspace
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

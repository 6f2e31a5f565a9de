"""One document on its way through curation, and the columns it has in the corpus."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

COLUMNS = ("id", "text", "source", "kind", "group", "license", "origin")


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it is from.

    Attributes:
        text: the text itself.
        source: name of the source: python_docs, files, or the dataset's id.
        kind: docstring, comment, topic, c_doc, file, row.
        group: siblings share it (a module, a file); a split never divides them.
        license: SPDX identifier where known.
        origin: qualified name, path and row, or URL.
    """

    text: str
    source: str
    kind: str
    group: str
    license: str
    origin: str

    def with_text(self, text: str) -> Document:
        return replace(self, text=text)

    def row(self) -> dict[str, str]:
        """The document as a row of the corpus."""
        return {
            "id": identifier(self.text),
            "text": self.text,
            "source": self.source,
            "kind": self.kind,
            "group": self.group,
            "license": self.license,
            "origin": self.origin,
        }


def identifier(text: str) -> str:
    """Content hash of a text: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

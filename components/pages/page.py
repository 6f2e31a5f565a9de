"""A page: one self-contained HTML file of text, tables and figures, readable without a server.

A list of documents can be searched and paged by a script of our own (``browse.js``); without it, all of it is shown.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ASSETS = ("page.html", "page.css", "browse.js")
# Neither scripts nor styles run but these two, by their digests; nothing is fetched from anywhere.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src {script}; base-uri 'none'; "
    "form-action 'none'"
)
_FACET = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class ShownDocument:
    """A document in a list that can be searched.

    Attributes:
        title: what it is; ``note`` stands behind it.
        parts: its text in parts, each with a sign: ``-`` removed, ``+`` added, another one marked, none plain.
        facets: what the list can be filtered by; names of small letters.
        beside: a document that is shown beside it, by its title and text.
    """

    title: str
    parts: Sequence[tuple[str, str]]
    note: str = ""
    facets: Mapping[str, str] = field(default_factory=dict)
    beside: ShownDocument | None = None


def read_report(folder: Path) -> dict[str, Any]:
    """What a stage left for its page in ``report.json``."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


class Page:
    """A report page built top to bottom; every method returns the page, so that calls chain."""

    def __init__(self, title: str, lead: str = ""):
        self.title, self.lead = title, lead
        self._blocks: list[tuple[str, object]] = []

    def heading(self, text: str) -> Page:
        return self._add("heading", text)

    def text(self, text: str) -> Page:
        return self._add("text", text)

    def code(self, text: str) -> Page:
        """Preformatted text: samples, examples of dropped rows."""
        return self._add("code", text)

    def marked(self, parts: Iterable[Sequence[Any]]) -> Page:
        """Preformatted text in parts, each with whether it is marked."""
        return self._add("marked", [(text, "!" if mark else "") for text, mark in parts])

    def documents(self, name: str, items: Sequence[ShownDocument]) -> Page:
        """A list of documents with a search, a filter for each facet, and pages; ``name`` says what they are."""
        facets: dict[str, list[str]] = {}
        for item in items:
            for facet, value in item.facets.items():
                if not _FACET.fullmatch(facet):
                    raise ValueError(f"{facet!r} cannot name a facet: small letters only")
                facets.setdefault(facet, [])
                if value not in facets[facet]:
                    facets[facet].append(value)
        return self._add("documents", {"name": name, "shown": items, "facets": facets})

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Page:
        """Numbers are right-aligned; floats are shown to four significant digits."""
        cells = [[_cell(value) for value in row] for row in rows]
        first: Sequence[dict[str, object]] = cells[0] if cells else [{"number": False}] * len(header)
        heads = [{"text": text, "number": cell["number"]} for text, cell in zip(header, first, strict=False)]
        return self._add("table", {"header": heads, "rows": cells})

    def figure(self, path: Path, alt: str) -> Page:
        """Embed a PNG file."""
        return self._add("figure", {"alt": alt, "data": base64.b64encode(path.read_bytes()).decode()})

    def bars(self, values: Mapping[str, float], alt: str) -> Page:
        """A chart of one bar for each name; ``alt`` says what is shown. Some of the names stand below."""
        step, top = max(6, min(60, 720 // max(1, len(values)))), max(values.values(), default=0) or 1
        bars = [
            {
                "x": number * step,
                "y": round(150 - 140 * value / top, 1),
                "height": round(140 * value / top, 1),
                "title": f"{name}: {_cell(value)['text']}",
                "label": name if number % max(1, len(values) // 12) == 0 else "",
            }
            for number, (name, value) in enumerate(values.items())
        ]
        return self._add("bars", {"alt": alt, "bars": bars, "step": step, "width": max(step * len(values), 300)})

    def html(self, source: str = "") -> str:
        """The whole page; ``source`` says in its head what it was rendered from."""
        from jinja2 import Environment
        from markupsafe import Markup

        layout, style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ASSETS)
        if not any(kind == "documents" for kind, _ in self._blocks):
            script = ""
        allowed = f"'sha256-{_digest(script)}'" if script else "'none'"
        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(layout)
        return template.render(
            title=self.title, lead=self.lead, blocks=self._blocks, source=source, style=Markup(style),
            script=Markup(script), policy=_POLICY.format(style=_digest(style), script=allowed),
        )  # fmt: skip

    def _add(self, kind: str, body: object) -> Page:
        self._blocks.append((kind, body))
        return self


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _cell(value: object) -> dict[str, object]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"text": "" if value is None else str(value), "number": False}
    return {"text": f"{value:,}" if isinstance(value, int) else f"{value:,.4g}", "number": True}

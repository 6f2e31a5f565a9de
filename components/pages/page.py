"""A page: one self-contained HTML file of text, tables and figures, readable without a server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_TEMPLATE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="rendered-from" content="{{ source }}">
<style>
 body{font:16px/1.55 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;box-sizing:border-box;
  color:#1c2430;background:#fff}
 h1{font-size:1.7rem;margin-bottom:.2rem} h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #d7dde5}
 p.lead{color:#56606d;margin-top:0} table{border-collapse:collapse;width:100%;font-size:.92rem;margin:.8rem 0 1.2rem}
 th,td{text-align:left;padding:.3rem .7rem;border-bottom:1px solid #e6eaf0;vertical-align:top}
 th{color:#56606d;font-weight:600} .number{text-align:right;font-variant-numeric:tabular-nums}
 figure{margin:1rem 0} figcaption{color:#56606d;font-size:.85rem}
 pre{background:#f5f7fa;padding:.7rem;overflow:auto;white-space:pre-wrap;font-size:.85rem} img{max-width:100%}
</style></head><body>
<h1>{{ title }}</h1>
{% if lead %}<p class="lead">{{ lead }}</p>{% endif %}
{% for kind, body in blocks %}
{% if kind == "heading" %}<h2>{{ body }}</h2>
{% elif kind == "text" %}<p>{{ body }}</p>
{% elif kind == "code" %}<pre>{{ body }}</pre>
{% elif kind == "marked" %}<pre>{% for text, mark in body %}{% if mark %}<mark>{{ text }}</mark>{% else %}{{ text }}\
{% endif %}{% endfor %}</pre>
{% elif kind == "figure" %}<figure><img alt="{{ body.alt }}" src="data:image/png;base64,{{ body.data }}"></figure>
{% elif kind == "bars" %}<figure><svg viewBox="0 0 {{ body.width }} 180" role="img" aria-label="{{ body.alt }}">
{% for bar in body.bars %}<rect x="{{ bar.x }}" y="{{ bar.y }}" width="{{ body.step - 2 }}" height="{{ bar.height }}"\
 fill="#4673aa"><title>{{ bar.title }}</title></rect>
{% if bar.label %}<text x="{{ bar.x }}" y="164" font-size="11" fill="#56606d">{{ bar.label }}</text>{% endif %}
{% endfor %}</svg><figcaption>{{ body.alt }}</figcaption></figure>
{% elif kind == "table" %}<table><tr>
{% for cell in body.header %}<th{% if cell.number %} class="number"{% endif %}>{{ cell.text }}</th>{% endfor %}</tr>
{% for row in body.rows %}<tr>
{% for cell in row %}<td{% if cell.number %} class="number"{% endif %}>{{ cell.text }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% endif %}
{% endfor %}
</body></html>
"""


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
        return self._add("marked", [tuple(part) for part in parts])

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

        template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_TEMPLATE)
        return template.render(title=self.title, lead=self.lead, blocks=self._blocks, source=source)

    def _add(self, kind: str, body: object) -> Page:
        self._blocks.append((kind, body))
        return self


def _cell(value: object) -> dict[str, object]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"text": "" if value is None else str(value), "number": False}
    return {"text": f"{value:,}" if isinstance(value, int) else f"{value:,.4g}", "number": True}

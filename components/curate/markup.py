"""HTML to the text a reader sees, by the standard library's parser."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SKIPPED = frozenset(
    {
        "script",
        "style",
        "noscript",
        "template",
        "svg",
        "math",
        "iframe",
        "object",
        "head",
        "nav",
        "footer",
        "form",
        "button",
        "select",
        "textarea",
    }
)
_BLOCKS = frozenset({"address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "dialog", "div",
                     "dl", "dt", "fieldset", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
                     "li", "main", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr",
                     "ul"})  # fmt: skip
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "table", "ul", "ol", "dl"})
_BLANKS = re.compile(r"[ \t\n\r\f]+")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._skipping: list[str] = []
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            # A page whose head was never closed must not lose its body.
            self._skipping.clear()
        if tag in _SKIPPED:
            self._skipping.append(tag)
        elif tag == "br":
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append("\t")
        elif tag in _BLOCKS:
            self.parts.append("\n\n" if tag in _PARAGRAPHS else "\n")
            if tag == "li":
                self.parts.append("- ")
            if tag == "pre":
                self._verbatim += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SKIPPED:
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._skipping:
            while self._skipping.pop() != tag:
                pass
        elif tag in _BLOCKS:
            self.parts.append("\n\n" if tag in _PARAGRAPHS else "\n")
            if tag == "pre" and self._verbatim:
                self._verbatim -= 1

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.parts.append(data if self._verbatim else _BLANKS.sub(" ", data))


def strip_html(html: str) -> str:
    """Visible text of an HTML page or fragment: blocks become lines, list items get a dash, entities are resolved.

    Scripts, styles, navigation, footers and forms are left out. Malformed markup is read leniently: nothing raises.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = "".join(reader.parts)
    text = re.sub(r" *\t *", "  ", text)
    text = re.sub(r" *\n *(?=\S)", "\n", text) if "<pre" not in html.lower() else re.sub(r"[ ]+\n", "\n", text)
    text = re.sub(r"\n[ ]*(\n[ ]*)+", "\n\n", text)
    return text.strip()

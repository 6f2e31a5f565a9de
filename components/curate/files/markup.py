"""HTML as text: a page's main content by a library, a fragment by its tags alone."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

from components.curate.parameters import Extractor

_PAGE = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_BEGINNING = 4096  # characters within which a page says that it is one
# Parsers take quadratic time in these: 4,000 levels 0.3 s, 200,000 levels (a megabyte) a quarter of an hour.
DEEPEST, MOST_ATTRIBUTES = 4000, 2000
_LONG = 4096  # characters
# Python's own parser looks for the end of each unfinished tag, comment or declaration in all that follows.
_LARGEST_FRAGMENT, _MOST_UNFINISHED = 200_000, 500
_LONG_TAG = re.compile(rf"<[a-zA-Z][^<>]{{{_LONG},}}")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# Elements without content, or that end where the next one begins: what is never closed is no level.
_NO_LEVELS = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
                        "wbr", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "colgroup",
                        "html", "body", "head"})  # fmt: skip


def text_of(html: str, extractor: Extractor) -> str:
    """Text of a page, or of a fragment (a text without ``<html>``, ``<head>``, ``<body>`` or a document type).

    Of a page the main content: navigation, boilerplate, comments and forms are left out; it may be empty. Of a fragment
    all that is seen. Malformed markup is read leniently.

    Raises:
        ValueError: a page that would take a parser minutes.
    """
    is_page = _PAGE.search(html, 0, _BEGINNING) is not None
    if not is_page and _is_simple(html):
        return strip_html(html)
    _require_readable(html)
    return _trafilatura(html) if is_page and extractor == "trafilatura" else _resiliparse(html, is_page)


def _is_simple(html: str) -> bool:
    unfinished = html.count("<") - html.count(">")
    declarations = html.count("<!") + html.count("<?")
    return len(html) <= _LARGEST_FRAGMENT and max(unfinished, declarations) <= _MOST_UNFINISHED


def _require_readable(html: str) -> None:
    # Most pages have no stretch without a tag's end, in which such a tag could hide.
    suspect = any(html.find(">", place, place + _LONG) < 0 for place in range(0, len(html) - _LONG, _LONG // 2))
    if suspect and any(tag.group().count("=") > MOST_ATTRIBUTES for tag in _LONG_TAG.finditer(html)):
        raise ValueError(f"has a tag of more than {MOST_ATTRIBUTES} attributes")
    if (tags := html.count("<")) <= DEEPEST or tags - html.count("</") <= DEEPEST:
        return
    depth = 0
    for tag in _TAG.finditer(html):
        if tag[2].lower() in _NO_LEVELS:
            continue
        depth = max(0, depth - 1) if tag[1] else depth + 1
        if depth > DEEPEST:
            raise ValueError(f"is nested deeper than {DEEPEST} levels")


def _resiliparse(html: str, is_page: bool) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    # Comments and what stands around an article (date, author) cost 0.02 of F1 on news pages (bench.html).
    return str(extract_plain_text(html, main_content=is_page, alt_texts=False, comments=False, post_meta=False))


def _trafilatura(html: str) -> str:
    import trafilatura

    return trafilatura.extract(html, fast=True, include_comments=False) or ""


_SKIPPED = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "head", "nav",
                      "footer", "form", "button", "select", "textarea"})  # fmt: skip
_BLOCKS = frozenset({"address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "dialog", "div",
                     "dl", "dt", "fieldset", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
                     "li", "main", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr",
                     "ul"})  # fmt: skip
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "table", "ul", "ol", "dl"})
_WHITE_SPACE = re.compile(r"[ \t\n\r\f]+")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._skipping: list[str] = []
        self._open = Counter[str]()  # what is in _skipping
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            # A page whose head was never closed must not lose its body.
            self._skipping.clear()
            self._open.clear()
        if tag in _SKIPPED:
            self._skipping.append(tag)
            self._open[tag] += 1
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
        if self._open[tag]:
            closed = None
            while closed != tag:
                closed = self._skipping.pop()
                self._open[closed] -= 1
        elif tag in _BLOCKS:
            self.parts.append("\n\n" if tag in _PARAGRAPHS else "\n")
            if tag == "pre" and self._verbatim:
                self._verbatim -= 1

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.parts.append(data if self._verbatim else _WHITE_SPACE.sub(" ", data))


def strip_html(html: str) -> str:
    """Visible text of an HTML page or fragment: blocks become lines, list items get a dash, entities are resolved.

    Scripts, styles, navigation, footers and forms are left out. Malformed markup is read leniently: nothing raises.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = "".join(reader.parts)
    text = re.sub(r"(?<! ) *\t *", "  ", text)
    text = (
        re.sub(r"(?<! ) *\n *(?=\S)", "\n", text) if "<pre" not in html.lower() else re.sub(r"(?<! ) +\n", "\n", text)
    )
    text = re.sub(r"\n[ ]*(\n[ ]*)+", "\n\n", text)
    return text.strip()

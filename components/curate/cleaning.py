"""Text as a reader sees it: one normal form of Unicode and white space, and HTML without its markup.

Mojibake (UTF-8 once read as Latin-1) is not repaired: that takes a library made for it (ftfy), which is not among the
dependencies. A replacement character left by somebody else's decoding is counted instead.
"""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser
from typing import Literal

# C0 and C1 controls but tab and newline; soft hyphen; zero-width characters (but the joiners that scripts need);
# bidirectional overrides; byte-order mark; lone surrogates, which cannot be encoded; non-characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u2060\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufdd0-\ufdef"
    "\ufffe\uffff\ud800-\udfff]"
)
_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_BLANKS = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
ALTERED = re.compile("|".join(["[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029\t]", _BLANKS.pattern, _UNSEEN.pattern]))
"""A sign that :func:`clean` replaces or removes wherever it is."""
_LINE_END = re.compile(r"[ \t]+$", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}")


def clean(text: str, unicode_form: Literal["NFC", "NFKC", "none"] = "NFC") -> str:
    """Normalize ``text``: Unicode form, newlines, blanks; no invisible characters, at most one empty line in a row.

    Idempotent. The indentation of lines is kept, since it carries meaning in code and lists.
    """
    text = _NEWLINES.sub("\n", text)
    if not text.isascii():
        text = _BLANKS.sub(" ", text)
    text = _UNSEEN.sub("", text)
    if unicode_form != "none" and not text.isascii():
        text = unicodedata.normalize(unicode_form, text)
    text = _LINE_END.sub("", text.expandtabs(4))
    text = _EMPTY_LINES.sub("\n\n", text)
    return text.strip("\n").rstrip()


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
            self.parts.append(data if self._verbatim else _WHITE_SPACE.sub(" ", data))


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

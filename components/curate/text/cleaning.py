"""Text as a reader sees it: one normal form of Unicode and white space.

Mojibake (UTF-8 once read as Latin-1) is another matter (:mod:`components.curate.text.mojibake`). A replacement
character left by somebody else's decoding is counted.
"""

from __future__ import annotations

import re
import unicodedata
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

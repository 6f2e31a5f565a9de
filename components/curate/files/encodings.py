"""Which encoding bytes are in: by a byte-order mark, by being UTF-8, by what they declare, at last by what they look
like (resiliparse's detector).

A wrong guess is possible, so whoever reads by one says so.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

UTF_8 = "utf-8"
MARKS = {  # those of UTF-32 first: they begin like those of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
_ESCAPE = b"\x1b"  # with which ISO-2022 leaves ASCII
# Encodings as they are named, and those that read all of it and more.
_WIDER = {
    "ascii": UTF_8, "big5": "big5hkscs", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030",
    "iso8859-1": "cp1252", "iso8859-9": "cp1254", "koi8-r": "koi8-u", "shift_jis": "cp932",
}  # fmt: skip


def marked(head: bytes) -> str | None:
    """The encoding that the first bytes of a text name by a byte-order mark, or show by where its NUL bytes are.

    UTF-16 without a mark has them at every other place at most: the high bytes of ASCII characters. ASCII with a few of
    them is none.
    """
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    if b"\0" in head and not (head.isascii() and head.count(b"\0") * 4 < len(head)):
        for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            if b"\0" not in head[1 - first :: 2]:
                text = head[: len(head) // 2 * 2].decode(name, "replace")
                if not _NO_TEXT.search(text):
                    return name
    return None


def of_lines(lines: Sequence[bytes]) -> str:
    """The encoding of lines of which some hold bytes beyond ASCII.

    UTF-8 if any of these is: the others are then broken, since no other encoding gives valid UTF-8 by chance.
    """
    beyond = [line for line in lines if not is_ascii(line)]
    if any(_reads(line, UTF_8) and not line.isascii() for line in beyond):
        return UTF_8
    return detected(b"".join(beyond)) or UTF_8


def detected(content: bytes) -> str | None:
    """What bytes that are not UTF-8 look like; ``None`` if they look like no text."""
    from resiliparse.parse.encoding import detect_encoding

    if b"\0" in content:
        return None
    name = _known(detect_encoding(content))
    # It takes a few bytes beyond ASCII for damaged UTF-8.
    return "cp1252" if name is None or name == UTF_8 else name


def decode(content: bytes, declared: str | None = None) -> tuple[str, str]:
    """A page's text, and the encoding that it was read by.

    Order: byte-order mark, UTF-8 where all of it is, ``declared`` (by the server), the page's own ``<meta>``, what it
    looks like. What cannot be read becomes U+FFFD.
    """
    from resiliparse.parse.encoding import detect_encoding

    name = marked(content[: 1 << 16])
    if name is not None:
        return content.decode(name, "replace"), name
    if _ESCAPE not in content and _reads(content, UTF_8):
        return content.decode(UTF_8), UTF_8
    for candidate in (_known(declared), _known(detect_encoding(content, from_html_meta=True))):
        if candidate is not None and candidate != UTF_8 and _reads(content, candidate):
            return content.decode(candidate), candidate
    if _reads(content, UTF_8):  # an escape that begins nothing
        return content.decode(UTF_8), UTF_8
    name = UTF_8 if _nearly_utf_8(content) else detected(content) or UTF_8
    return content.decode(name, "replace"), name


def is_ascii(line: bytes) -> bool:
    """Whether every encoding that is read here reads the bytes alike."""
    return line.isascii() and _ESCAPE not in line


def _nearly_utf_8(content: bytes) -> bool:
    """Whether most of what is beyond ASCII is UTF-8, as in a page of which a part was cut or pasted wrongly."""
    beyond = sum(byte > 127 for byte in content[: 1 << 16])
    return content[: 1 << 16].decode(UTF_8, "replace").count("\ufffd") * 4 < beyond


def _known(name: str | None) -> str | None:
    """Python's encoding of a name as servers and pages write it."""
    if not name:
        return None
    try:
        codec = codecs.lookup(name.strip().strip("\"'"))
    except (LookupError, ValueError):
        return None
    # Python has codecs of bytes to bytes under the same roof.
    return _WIDER.get(codec.name, codec.name) if codec._is_text_encoding else None


def _reads(content: bytes, name: str) -> bool:
    try:
        content.decode(name)
    except UnicodeDecodeError as error:
        # The first bytes of a longer text may end within a character.
        return error.end == len(content) and error.start > len(content) - 4 and len(content) >= 1 << 16
    except UnicodeError:
        return False
    return True

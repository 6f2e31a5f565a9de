"""Text that was decoded by the wrong encoding before it came here (``schÃ¶n``), put right by ftfy where it is sure."""

from __future__ import annotations


def repaired(text: str) -> str:
    """``text`` with its encoding mistakes undone; the same text where there are none that can be told from text."""
    if text.isascii():
        return text
    import ftfy

    return ftfy.fix_encoding(text) if ftfy.is_bad(text) else text

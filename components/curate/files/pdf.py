"""Text of PDF files, by PDFium (pypdfium2): a large program in C++ that reads what strangers wrote.

So it runs in a sandbox (:mod:`core.sandbox`), a process a file, with bounds on memory, time and output. What ends it
ends that file alone.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from importlib.util import find_spec

from core import sandbox

LARGEST, MOST_PAGES = 64 << 20, 5000  # bytes, pages
BOUNDS = sandbox.Bounds(seconds=120, memory_megabytes=2048, file_megabytes=64)
FILES = "PDF files"
"""The name under which they are counted, all together."""


@dataclass(frozen=True)
class Pages:
    """Text of a file, and how many of its pages have text and have none (such as scanned ones)."""

    text: str
    with_text: int
    without: int


def why_not() -> str | None:
    """Why PDF files cannot be read here, and what to do; ``None`` where they can."""
    if find_spec("pypdfium2") is None:
        return "PDF files are read by pypdfium2, which is not installed: pip install 'stemma-llm[pdf]'"
    return sandbox.why_not("PDF files are read")


def read(content: bytes) -> Pages:
    """The pages in order, with a blank line between two that have text.

    The lines of a page are those that are seen. A word that is divided at the end of a line is put together.

    Raises:
        ValueError: no text can be had of the file, or PDF files cannot be read here; it says why.
    """
    if reason := why_not():
        raise ValueError(reason)
    if len(content) > LARGEST:
        raise ValueError(f"is larger than {LARGEST >> 20} MiB: divide it")
    program = f"{inspect.getsource(_extract)}\n_extract({MOST_PAGES})\n"
    ended = sandbox.run(program, content, BOUNDS, packages=True)
    if ended.code is None:
        raise ValueError(f"takes longer than {BOUNDS.seconds:.0f} seconds to read")
    try:
        found = json.loads(ended.output)
    except ValueError:
        said = ended.errors.strip().rpartition("\n")[2][:200] or f"exit status {ended.code}"
        raise ValueError(f"ended the library that reads it ({said})") from None
    if isinstance(found, str):
        raise ValueError(found)
    pages = [text.strip() for text in found]
    texts = list(filter(None, pages))
    if not texts:
        raise ValueError(f"has no text on its {len(pages)} pages: they may be images, which need OCR")
    return Pages("\n\n".join(texts), len(texts), len(pages) - len(texts))


def _extract(most: int) -> None:
    """Runs in the sandbox, as text: prints the pages of the file on standard input, or why there are none, as JSON."""
    import json
    import re
    import sys

    import pypdfium2

    try:
        file = pypdfium2.PdfDocument(sys.stdin.buffer.read())
        if len(file) > most:
            print(json.dumps(f"has {len(file)} pages, more than {most}: divide it"))
            return
        pages = []
        for number in range(len(file)):
            page = file[number]
            text = page.get_textpage()
            # PDFium marks a hyphen at the end of a line, where it takes the word to go on.
            pages.append(re.sub("[\x02\ufffe](?:\r?\n)?", "", text.get_text_range()).replace("\r\n", "\n"))
            text.close()
            page.close()
    except pypdfium2.PdfiumError as error:
        encrypted = "is encrypted: save it without a password" if "assword" in str(error) else None
        print(json.dumps(encrypted or f"cannot be read as PDF ({error})"))
        return
    print(json.dumps(pages))

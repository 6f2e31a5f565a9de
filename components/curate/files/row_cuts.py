"""Where csv, tsv and compressed jsonl files can be cut. They have no index, so each is read once for it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import NoReturn

from components.curate.files import encodings
from components.curate.files.tables import DELIMITERS, CsvLines, csv_reader
from components.curate.files.text_files import DAMAGE, text_lines
from components.curate.files.user_files import UserFile
from core.errors import InputProblem


def cuts(file: UserFile, most: int) -> list[tuple[int, int]]:
    """The bytes, as unpacked, at which pieces of about ``most`` begin, and the number of the line there.

    Each is the begin of a row. There are none in a file whose pieces could be read otherwise than the whole, since it
    is damaged or (csv, tsv) not UTF-8 to its end: its reader says what is wrong.
    """
    found, start, place = list[tuple[int, int]](), 0, 0
    try:
        with file.opened() as opened:
            mark = encodings.marked(opened.read(4))
        if mark not in (None, "utf-8-sig"):
            return []
        for place, line in _ends(file, 3 if mark else 0):
            if place - start >= most:
                found.append((place, line + 1))
                start = place
    except (InputProblem, UnicodeError, csv.Error, *DAMAGE):
        return []
    return found[:-1] if found and found[-1][0] == place else found


def _ends(file: UserFile, place: int) -> Iterator[tuple[int, int]]:
    """Where each row ends, and the number of its last line."""
    if file.format == "jsonl":
        for number, line in enumerate(text_lines(file), 1):
            place += len(line)
            yield place, number
        return
    lines = CsvLines(file, _foreign)
    reader = csv_reader(lines, DELIMITERS[file.format])
    for _ in reader:
        if lines.foreign:
            _foreign("")
        yield place + lines.given, reader.line_num
        lines.begin()


def _foreign(encoding: str) -> NoReturn:
    raise UnicodeError(f"{encoding or 'a line'} is not UTF-8")

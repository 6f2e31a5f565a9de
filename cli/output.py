"""Listings: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from core.text import printable


def print_json(body: Any) -> None:
    """JSON on standard output, uncoloured."""
    print(json.dumps(body, indent=2, default=str))


def say(text: str) -> None:
    """Text that comes from the registry, as a line; what would act on the terminal is spelled out."""
    print(printable(text))


def shortened(text: str, width: int) -> str:
    """``text`` in one line of at most ``width`` characters, the last of which is … where it had more."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table, wrapped to the terminal; to a pipe, as wide as it needs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for index, name in enumerate(header):
        table.add_column(name, no_wrap=index == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def print_parts(parts: Iterable[tuple[str, bool]]) -> None:
    """Text of which some parts are marked: green on a terminal, else between ``[[`` and ``]]``."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal or console.no_color:
        print("".join(f"[[{printable(text)}]]" if marked else printable(text) for text, marked in parts))
        return
    shown = Text()
    for text, marked in parts:
        shown.append(printable(text), style="green" if marked else "")
    console.print(shown)


def print_changes(parts: Iterable[tuple[str, str]]) -> None:
    """Text of which parts were removed (``-``) or added (``+``): red and green, or else as ``wdiff`` has it."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal or console.no_color:
        brackets = {"-": "[-{}-]", "+": "{{+{}+}}", "": "{}"}
        print("".join(brackets[sign].format(printable(text)) for text, sign in parts))
        return
    shown = Text()
    for text, sign in parts:
        shown.append(printable(text), style={"-": "red strike", "+": "green", "": ""}[sign])
    console.print(shown)

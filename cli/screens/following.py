"""What the screens that keep up with something share: a drawing on a terminal, and a thread that follows."""

from __future__ import annotations

import threading
from typing import Self

from rich.console import Console
from rich.live import Live


class Following:
    """While the block lasts, a terminal shows ``live``, and :meth:`_follow` runs in a thread until ``_stop`` is set."""

    def __init__(self, console: Console, live: Live):
        self.console, self._live = console, live
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.console.is_terminal:
            self._live.stop()

    def _follow(self) -> None:
        raise NotImplementedError

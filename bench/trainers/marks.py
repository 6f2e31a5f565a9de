"""The clocks at the bounds of training steps, read the same way in every trainer.

Imported by the peers' own interpreters as well, so it needs the standard library alone.
"""

from __future__ import annotations

import json
import resource
import time


def peak() -> int:
    """Largest resident set of this process in bytes (Linux; ``ru_maxrss`` would count the one that started it, too)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) * 1024


class Marks:
    """Appends a line of clocks to ``path`` at each bound; the first is the beginning of step 1.

    ``wall`` is the wall clock and ``cpu`` the processor time of this process and its ended children (compilers),
    both in seconds; ``peak`` is the largest resident set so far, in bytes.
    """

    def __init__(self, path: str):
        self._path = path
        open(path, "w").close()

    def mark(self) -> None:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        line = {
            "wall": time.perf_counter(),
            "cpu": time.process_time() + children.ru_utime + children.ru_stime,
            "peak": peak(),
        }
        # Opened anew each time: litgpt pickles what its loaders hold.
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")

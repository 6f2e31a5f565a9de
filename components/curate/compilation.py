"""Where compiled code is kept, and from how much text on it is used.

It is kept beside the sources, by the digest of all of them: numba looks for changes in a function's own file alone, and
would go on with what it has made of another one's functions and constants. This module imports no numba.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FROM_KEPT = 1_000_000  # bytes of text from which loading what is kept (half a second) saves more than it takes
FROM_NOTHING = 16_000_000  # and compiling it anew, some twenty seconds


def kept_in(folder: Path) -> Path:
    """Where what is compiled of the modules in ``folder`` is kept: elsewhere once any of them has changed."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return folder / "__pycache__" / f"compiled-{found.hexdigest()[:16]}"


KEPT = kept_in(Path(__file__).parent)


def is_worth(size: int) -> bool:
    """Whether so many bytes of text are judged sooner by compiled code, its start included."""
    return size >= FROM_NOTHING or (size >= FROM_KEPT and any(KEPT.rglob("kernels*._judge-*.nbi")))

"""What stands in the place of personal data: its type (``[EMAIL]``), or with it a keyed hash (``[EMAIL_3f2a]``).

By the hash equal values stay equal, so that a text still says who answers whom. Values have so few forms that a plain
hash is undone by trying: there are some 10^10 phone numbers, seconds of work. So the hash is keyed (HMAC, RFC 2104) by
256 random bits that stay in the workspace's home, and cut to 16 bits: several values share a placeholder.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from core import files, layout
from core.errors import InputProblem

TYPED = {name: f"[{name.upper()}]" for name in ("email", "phone", "ip", "card", "iban", "key")}
Placeholder = Callable[[str, str], str]
"""From a type and a value to what is written for it."""
_BYTES = 32


def typed(name: str, value: str) -> str:
    """The type alone."""
    return f"[{name.upper()}]"


@dataclass(frozen=True)
class Hashed:
    """The type and a hash of the value, however it is written: without blanks and signs, in lower case."""

    salt: bytes = field(repr=False)

    def __call__(self, name: str, value: str) -> str:
        normal = value if name == "key" else re.sub(r"[\W_]", "", value).lower()
        return f"[{name.upper()}_{self._digest(f'{name}:{normal}')[:4]}]"

    @property
    def mark(self) -> str:
        """Tells salts apart and says nothing of them."""
        return self._digest("mark")[:16]

    def _digest(self, text: str) -> str:
        return hmac.new(self.salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def of_home(home: Path) -> Hashed:
    """With the salt of the home, which is made at first use and readable by its owner alone.

    Raises:
        InputProblem: the file of the salt is damaged.
    """
    path = layout.placeholder_salt(home)
    files.private_folder(path.parent)
    if not path.exists():
        made = path.with_name(f".{path.name}.{os.getpid()}.partial")
        files.write_bytes(made, os.urandom(_BYTES), private=True)
        with contextlib.suppress(FileExistsError):  # another process was quicker: its salt counts
            os.link(made, path)
        made.unlink()
    salt = path.read_bytes()
    if len(salt) != _BYTES:
        raise InputProblem(
            f"{path} has {len(salt)} bytes, not {_BYTES}: bring it back from a back-up, or remove it, which gives "
            "every value another placeholder"
        )
    return Hashed(salt)

"""What can go wrong with a back-up."""

from __future__ import annotations

from collections.abc import Sequence

from registry.errors import RegistryError


class BackupFailed(RegistryError):
    """A database, a store or a file could not be read or written; the message says which and why."""


class BackupRefused(RegistryError):
    """Something has to be changed first; nothing was touched. The message lists every problem."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count}; nothing was changed:", *(f"  {line}" for line in self.problems)]))

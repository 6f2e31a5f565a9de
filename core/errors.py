"""The exceptions whose message is for the user: one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")


def redacted(text: str) -> str:
    """A text without the user names and passwords that its addresses hold."""
    return _CREDENTIALS.sub("", text)


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its kind, where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def said(error: BaseException) -> str:
    """Kind and first line of an error of a library, each of which has errors of its own."""
    kind, line = type(error).__name__, redacted(first_line(error))
    return kind if line == kind else f"{kind}: {line}"


class StemmaError(Exception):
    """Base of everything that Stemma refuses or cannot do."""


class InputProblem(StemmaError):
    """The user's parameters, data or workspace cannot be used; a command ends with exit code 2.

    Attributes:
        problems: every problem found, a line each.
    """

    def __init__(self, problems: str | list[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class WorkspaceError(InputProblem):
    """There is no workspace here, or it cannot be used."""


class KeyProblem(StemmaError):
    """A key cannot be used for signing, or a signature is by a key that is not trusted here."""


class GitError(StemmaError):
    """A git command failed; the message holds git's own."""


class DvcError(StemmaError):
    """A DVC command failed; the message is DVC's own."""

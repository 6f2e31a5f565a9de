"""What can go wrong, each as one sentence that says what to do next."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")


def redacted(text: str) -> str:
    """A text without the user names and passwords that its addresses hold."""
    return _CREDENTIALS.sub("", text)


class RegistryError(Exception):
    """Base of everything the registry refuses; the message is meant for the user."""


class WorkspaceError(RegistryError):
    """There is no workspace here, or it cannot be used."""


class DatabaseError(RegistryError):
    """The registry's database cannot be opened or is not one."""


class DvcFailed(RegistryError):
    """DVC refused; the message is DVC's own."""


class UnknownReference(RegistryError):
    """No such model, version or alias."""


class PromotionRefused(RegistryError):
    """The promotion cannot even be judged: no reason, no such alias name, no parameters."""


class PromotionConflict(RegistryError):
    """Somebody else moved the alias while this promotion was being judged."""


class ExportFailed(RegistryError):
    """The lineage could not be written or sent to where it was asked for."""


class MissingBytes(RegistryError):
    """The files of a version are neither in the workspace, nor in DVC's cache, nor in its remote."""


class InvalidBytes(RegistryError):
    """The files of a version are there, but are not what was recorded."""


class KeyProblem(RegistryError):
    """A key cannot be used for signing, or a signature is by a key that is not trusted here."""


class NotMeasured(RegistryError):
    """A version could not be measured on the evaluation set that another one was measured on."""

"""What can go wrong, each as one sentence that says what to do next."""

from __future__ import annotations

from core.errors import StemmaError


class RegistryError(StemmaError):
    """Base of everything the registry refuses; the message is meant for the user."""


class DatabaseError(RegistryError):
    """The registry's database cannot be opened or is not one."""


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

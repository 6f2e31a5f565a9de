"""What the registry refuses or cannot do; each message says what is wrong and what to do."""

from __future__ import annotations

from core.errors import InputProblem, StemmaError


class RegistryError(StemmaError):
    """Base of the registry's errors; the message is for the user."""


class DatabaseError(RegistryError):
    """The registry's database cannot be opened, or the file is not a database."""


class UnknownReference(RegistryError):
    """No such model, version or alias."""


class PromotionRefused(RegistryError):
    """The promotion cannot be judged: no reason, or an invalid alias."""


class InvalidRequest(PromotionRefused, InputProblem):
    """The request itself cannot be recorded: its reason, actor or alias; every problem is named."""


class PromotionConflict(RegistryError):
    """Another promotion moved the alias while this one was being judged."""


class ExportFailed(RegistryError):
    """The lineage could not be written to the file or sent to the server."""


class MissingBytes(RegistryError):
    """The files of a version are neither in the workspace, nor in DVC's cache, nor in its remote."""


class InvalidBytes(RegistryError):
    """The files of a version were found, but are not what was recorded."""


class NotCheckable(RegistryError):
    """A signature can neither be confirmed nor refuted now, such as Sigstore's without a network."""


class UnsoundHistory(RegistryError):
    """The registry's promotions are not what was signed, so no alias is read from them."""


class NotMeasured(RegistryError):
    """A version could not be measured on the evaluation set that another one was measured on."""


class NoSuchAnswer(RegistryError):
    """No answer of this name was kept for this person."""
